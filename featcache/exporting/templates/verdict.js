// Numbers of the network to words, as featcache predict reads them: read_values in featcache/classifier/prediction.py.

const TOP = 5;

/** "97.3 %", as featcache writes shares everywhere. */
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

const digits = (value) => Number(value.toPrecision(4)).toString();

/** The places of the values from the largest to the smallest; of equal ones the first comes first. */
const descending = (values) => [...values.keys()].sort((a, b) => values[b] - values[a] || a - b);

/** Why a photo is unknown: sentences, none where it is known. Thresholds are compared as float32, as numpy does. */
function reasons(description, best, share, distance) {
  const { below_probability: least, beyond_distance: farthest } = description.unknown ?? {};
  const found = [];
  if (share !== null && least != null && share < Math.fround(least)) {
    found.push(
      `The most probable answer, ${best}, has ${percent(share)}; below ${percent(least)} this classifier says “unknown”.`,
    );
  }
  if (distance !== null && farthest != null && distance > Math.fround(farthest)) {
    found.push(
      `The photo is unlike those that the classifier has learned from: its distance is ${digits(distance)}, and `
        + `that of photos like those is ${digits(farthest)} at most.`,
    );
  }
  return found;
}

/**
 * What the outputs of one photo say.
 *
 * values: probabilities, or the numbers of a regression, one for each class; distance: a number, or null where the
 * classifier has none; description: preprocessing.json. Returns {headline, unknown, reasons, rows: [{name, text, share}],
 * hidden}: the rows to show, with a share of null for numbers, and how many more there are.
 */
export function verdict(values, distance, description) {
  const { classes, task } = description;
  if (task === "regression") {
    const rows = classes.map((name, place) => ({ name, text: digits(values[place]), share: null }));
    const why = reasons(description, null, null, distance);
    const said = rows.map(({ name, text }) => `${name}: ${text}`).join(", ");
    return { headline: why.length ? `Unknown (${said})` : said, unknown: why.length > 0, reasons: why, rows, hidden: 0 };
  }
  const order = descending(values);
  const rows = order.slice(0, TOP).map((place) => ({
    name: classes[place], text: percent(values[place]), share: values[place],
  }));
  const why = reasons(description, classes[order[0]], values[order[0]], distance);
  const hidden = order.length - rows.length;
  let headline = `${rows[0].name}, ${rows[0].text}`;
  if (task === "multilabel") {
    const answers = order.filter((place) => values[place] > 0.5).map((place) => classes[place]);
    headline = answers.length ? answers.join(", ") : "None of the labels";
  }
  return { headline: why.length ? "Unknown" : headline, unknown: why.length > 0, reasons: why, rows, hidden };
}
