"""The documentation as a site: gathers the pages that docs/book/SUMMARY.md lists, and checks every link.

`site.py gather FOLDER` writes the book's source to FOLDER, and checks the links between the Markdown files.
`site.py check FOLDER` checks the links of the site that mdBook has made from it.
"""

import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "docs" / "book"
SOURCE = "https://github.com/sessionwatch/sessionwatch/blob/main/"
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")


def pages():
    """The pages of the book, by their paths in the project."""
    return [Path(name) for name in re.findall(r"\]\((\S+\.md)\)", (BOOK / "SUMMARY.md").read_text())]


def prose(text):
    """The text without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def slugs(text):
    """The anchors of the headings, as GitHub and mdBook make them."""
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", prose(text), re.M):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        slug = words.strip().replace(" ", "-")
        number = 0
        while (name := slug if number == 0 else f"{slug}-{number}") in found:
            number += 1
        found.add(name)
    return found


def gather(folder):
    book = set(pages())
    wrong = []
    src = folder / "src"
    for page in sorted(book):
        text = (ROOT / page).read_text()

        def target(match, page=page, text=text):
            link = urlsplit(match[1])
            if link.scheme:
                return match[0]
            path = (ROOT / page).parent / unquote(link.path) if link.path else ROOT / page
            if not path.resolve().exists():
                wrong.append(f"{page} leads to {match[1]}, which does not exist")
                return match[0]
            name = path.resolve().relative_to(ROOT)
            if link.fragment and name.suffix == ".md" and link.fragment not in slugs(path.read_text()):
                wrong.append(f"{page} leads to {match[1]}, and there is no such heading")
            if (name / "README.md") in book:
                return f"]({link.path.rstrip('/')}/index.md)"
            if name in book:
                # mdBook makes an index of each README.
                place = re.sub(r"README\.md$", "index.md", link.path)
                return f"]({place}{'#' + link.fragment if link.fragment else ''})"
            if name.suffix == ".png":
                return match[0]
            return f"]({SOURCE}{name})"

        # Blocks of code stay as they are.
        parts = re.split(r"(^```.*?^```)", text, flags=re.S | re.M)
        out = "".join(part if part.startswith("```") else LINK.sub(target, part) for part in parts)
        (src / page).parent.mkdir(parents=True, exist_ok=True)
        (src / page).write_text(out)
    listed = {page for page in book if not (ROOT / page).exists()}
    documents = {path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md")}
    wrong += [f"docs/book/SUMMARY.md does not list {page}" for page in sorted(documents - book)]
    wrong += [f"docs/book/SUMMARY.md lists {page}, which does not exist" for page in sorted(listed)]
    shutil.copy(BOOK / "book.toml", folder)
    shutil.copy(BOOK / "SUMMARY.md", src)
    for picture in (ROOT / "docs").glob("*.png"):
        shutil.copy(picture, src / "docs")
    return wrong, len(book)


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.links = set(), []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if values.get("id"):
            self.ids.add(values["id"])
        self.links += [values[name] for name in ("href", "src") if values.get(name) and tag != "base"]


def read(path):
    page = Page()
    page.feed(path.read_text())
    return page


def check(folder):
    site = (folder / "book").resolve()
    # Its links begin at the root of the site; the page of all pages for printing repeats them from another place.
    read_pages = {path: read(path) for path in site.rglob("*.html") if path.name not in ("404.html", "print.html")}
    wrong = []
    for path, page in read_pages.items():
        for link in map(urlsplit, page.links):
            if link.scheme or link.netloc:
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            if target.is_dir():
                target = target / "index.html"
            if not target.exists():
                wrong.append(f"{path.relative_to(site)} leads to {link.geturl()}, which does not exist")
            elif link.fragment and target in read_pages and unquote(link.fragment) not in read_pages[target].ids:
                wrong.append(f"{path.relative_to(site)} leads to {link.geturl()}, and there is no such place")
    return wrong, len(read_pages)


if __name__ == "__main__":
    wrong, count = {"gather": gather, "check": check}[sys.argv[1]](Path(sys.argv[2]))
    print("\n".join(sorted(set(wrong))) or f"{count} pages, and every link leads somewhere")
    sys.exit(bool(wrong))
