"""``featcache demo --photos``: the photos alone, for whoever wants to run the commands by hand."""

import os

from featcache.images.demo_photos import demo_dataset


def test_the_command_says_what_is_there_and_what_comes_next(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = cli("demo", "--photos", "my photos")
    assert ran.code == 0
    assert ran.out == (
        "my photos: 360 photos, train 270, test 90\n"
        "  classes   9: brick, cat, coffee, coins, galaxies, grass, gravel, handwriting, retina\n"
        f"  licences  public domain or CC0; whose they are: {demo_dataset().parent}/README.md\n"
    )
    assert ran.err == "next: featcache extract 'my photos'\n"
    assert os.listdir() == ["my photos"]
    assert cli("demo", "--photos", "my photos", "--json").result["photos"] == {"train": 270, "test": 90}
