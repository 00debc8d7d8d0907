"""All files of benchmarks/results/ on the benchmark page, in place of ``<!-- results -->``."""

from pathlib import Path

PAGE = "benchmarks"
MARK = "<!-- results -->"


def results(folder: Path) -> str:
    """A section for each device, a listing for each file; paths relative to the page."""
    parts = []
    for device in sorted(path for path in folder.glob("*") if path.is_dir()):
        parts.append(f"### {device.name}\n")
        for file in sorted(device.glob("*.txt")):
            link = f"../benchmarks/results/{device.name}/{file.name}"
            parts.append(f"**{file.stem}**\n\n```{{literalinclude}} {link}\n:language: text\n```\n")
    return "\n".join(parts) or "No results yet.\n"


def insert(app, docname, source):
    if docname == PAGE:
        source[0] = source[0].replace(MARK, results(Path(app.srcdir).parent / "benchmarks" / "results"))


def setup(app):
    app.connect("source-read", insert)
    app.connect("env-get-outdated", lambda *_: [PAGE])
    return {"parallel_read_safe": True}
