"""Draw the pictures of the documentation: ``python docs/pictures.py`` writes them into docs/images.

Each is drawn twice, for light and for dark pages, and narrow enough to be read on a phone.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
WIDTH = 600
CELL, STEP, LEFT = 50, 60, 66
FONT = "font-family='-apple-system,Segoe UI,Helvetica,Arial,sans-serif'"


@dataclasses.dataclass(frozen=True)
class Colours:
    """One set for light pages, one for dark ones."""

    name: str
    text: str
    quiet: str
    plain: tuple[str, str]
    """Fill and line of a contact."""
    good: tuple[str, str]
    bad: tuple[str, str]


LIGHT = Colours(
    "light", "#1f2328", "#59636e", ("#eef4fb", "#5b8fc9"), ("#dafbe1", "#1a7f37"), ("#ffebe9", "#cf222e")
)
DARK = Colours(
    "dark", "#e6edf3", "#9da7b3", ("#172537", "#4c8eda"), ("#12321d", "#3fb950"), ("#3c1618", "#f85149")
)


class Picture:
    """An SVG that grows downwards."""

    def __init__(self, colours: Colours, title: str) -> None:
        self.colours = colours
        self.title = title
        self.parts: list[str] = []
        self.y = 0

    def text(self, words: str, *, x: float = 8, colour: str = "", size: int = 18, bold: bool = False) -> None:
        """Write a line at the current height."""
        weight = " font-weight='600'" if bold else ""
        self.parts.append(
            f"<text x='{x}' y='{self.y}' fill='{colour or self.colours.text}' font-size='{size}' {FONT}"
            f"{weight}>{words}</text>"
        )

    def contacts(self, names: str, *, good: str = "", bad: str = "") -> None:
        """Draw a list of contacts, the oldest change first."""
        for position, name in enumerate(names):
            fill, line = (
                self.colours.good if name in good else self.colours.bad if name in bad else self.colours.plain
            )
            x = LEFT + position * STEP
            self.parts.append(
                f"<rect x='{x}' y='{self.y}' width='{CELL}' height='38' rx='7' fill='{fill}' stroke='{line}' "
                f"stroke-width='2'/><text x='{x + CELL / 2}' y='{self.y + 26}' text-anchor='middle' "
                f"fill='{self.colours.text}' font-size='19' {FONT}>{name}</text>"
            )

    def bracket(self, first: int, last: int, label: str, colour: str) -> None:
        """Draw what one request returned, below the contacts."""
        left, right, top = LEFT + first * STEP - 3, LEFT + last * STEP + CELL + 3, self.y + 46
        self.parts.append(
            f"<path d='M{left} {top} v9 H{right} v-9' fill='none' stroke='{colour}' stroke-width='2.5'/>"
            f"<text x='{(left + right) / 2}' y='{top + 29}' text-anchor='middle' fill='{colour}' "
            f"font-size='17' {FONT}>{label}</text>"
        )

    def move(self, first: int, last: int) -> None:
        """Draw a contact's way to the end of the list, above the contacts."""
        left, right, top = LEFT + first * STEP + CELL / 2, LEFT + last * STEP + CELL / 2 + 8, self.y - 5
        self.parts.append(
            f"<path d='M{left} {top} C{left} {top - 30} {right} {top - 30} {right} {top - 5}' fill='none' "
            f"stroke='{self.colours.quiet}' stroke-width='2' stroke-dasharray='5 4'/>"
            f"<path d='M{right - 6} {top - 9} L{right} {top} L{right + 6} {top - 9}' fill='none' "
            f"stroke='{self.colours.quiet}' stroke-width='2'/>"
        )

    def save(self, name: str) -> None:
        """Write the file of these colours."""
        height = self.y + 14
        svg = (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' "
            f"height='{height}' role='img'><title>{self.title}</title>\n"
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )
        (IMAGES / f"{name}-{self.colours.name}.svg").write_text(svg.replace("'", '"'))


def moving_list(colours: Colours) -> None:
    """Draw how a contact slips through, and how windows that overlap hold it."""
    picture = Picture(colours, "A list that moves while it is read, and windows that overlap")
    bad, good, quiet = colours.bad[1], colours.good[1], colours.quiet
    picture.y = 22
    picture.text("The list, oldest change first. Page 1 is read.", bold=True)
    picture.y = 66
    picture.move(1, 7)
    picture.contacts("ABCDEFGH")
    picture.bracket(0, 3, "page 1", quiet)
    picture.y = 180
    picture.text("B is updated and moves to the end. E slips into page 1.", bold=True)
    picture.y = 200
    picture.contacts("ACDEFGHB", bad="E")
    picture.bracket(4, 7, "page 2: nobody ever reads E", bad)
    picture.y = 316
    picture.text("Windows that overlap: D is in both, none is missing.", bold=True)
    picture.y = 336
    picture.contacts("ACDEFGHB", good="DE")
    picture.bracket(2, 5, "window 2 starts with D, which window 1 had", good)
    picture.y = 416
    picture.save("moving-list")


def commits(colours: Colours) -> None:
    """Draw what a reader sees while an export is written."""
    picture = Picture(colours, "An export becomes visible with its manifest")
    good, quiet = colours.good[1], colours.quiet
    rows = (
        ("1  write", "_staging/<run>/part-0.parquet", "nobody sees it", quiet),
        ("2  move", "snapshot_date=…/part-0.parquet", "still the last export", quiet),
        ("3  commit", "_manifests/00000042.json", "now the new export", good),
    )
    picture.y = 22
    picture.text("Three steps. A crash between them harms nothing.", bold=True)
    for step, file, seen, colour in rows:
        picture.y += 20
        top = picture.y
        picture.parts.append(
            f"<rect x='8' y='{top}' width='584' height='66' rx='9' fill='{colours.plain[0]}' "
            f"stroke='{colour if colour != quiet else colours.plain[1]}' stroke-width='2'/>"
        )
        picture.y = top + 28
        picture.text(step, x=24, bold=True)
        picture.text(file.replace("<", "&lt;"), x=132, size=17)
        picture.y = top + 54
        picture.text(f"readers: {seen}", x=132, colour=colour, size=17)
        picture.y = top + 66
    picture.y += 8
    picture.save("commit")


def rows(colours: Colours) -> None:
    """Draw where the rows of a sync go."""
    picture = Picture(colours, "Each row of a sync ends in one of four places")
    good, bad, quiet = colours.good[1], colours.bad[1], colours.quiet
    picture.y = 22
    picture.text("Each row of the query ends in one of four places.", bold=True)
    ends = (
        ("unchanged", "the ledger has it as it is: not sent", quiet),
        ("sent", "Customerly accepted it: into the ledger", good),
        ("refused", "Customerly did not: rejects/, task red", bad),
        ("invalid", "breaks a rule: rejects/, task red", bad),
    )
    for name, meaning, colour in ends:
        picture.y += 18
        top = picture.y
        picture.parts.append(
            f"<rect x='8' y='{top}' width='584' height='42' rx='9' fill='none' stroke='{colour}' "
            "stroke-width='2'/>"
        )
        picture.y = top + 27
        picture.text(name, x=24, bold=True, colour=colour)
        picture.text(meaning, x=150, size=17)
        picture.y = top + 42
    picture.y += 8
    picture.save("rows")


def main() -> None:
    """Draw all."""
    for colours in (LIGHT, DARK):
        for draw in (moving_list, commits, rows):
            draw(colours)


if __name__ == "__main__":
    main()
