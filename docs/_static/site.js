// What the theme leaves to be wished for by those who read with the ears or without a mouse.
document.addEventListener("DOMContentLoaded", () => {
  const each = (selector, change) => document.querySelectorAll(selector).forEach(change);
  each("p.caption[role=heading]", (caption) => caption.setAttribute("aria-level", "2"));
  each(".sidebar-drawer", (drawer) => drawer.setAttribute("aria-label", "All pages"));
  each(".toc-drawer", (drawer) => drawer.setAttribute("aria-label", "On this page"));
  // Keys scroll only what can have the focus.
  each("article pre, article .table-wrapper", (box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
  // Columns that need no heading, in tables that Markdown cannot write without.
  each("th", (cell) => cell.textContent.trim() || cell.setAttribute("role", "presentation"));
});
