#!/usr/bin/env python3
"""Figures about the shape of the source: python3 tests/measures.py [FOLDER]

Counts what a reader feels: files and lines of every room, the longest file and function, how much
of fame-core is documentation, lines that are too wide, rooms in circles, and blocks that stand
twice. Needs Python only. FOLDER is a checkout, this one by default; two of them can be compared with diff.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

WIDTH = 100
# A block of this many lines that stands twice is a duplicate.
BLOCK = 6
CRATES = ["fame-core", "fame-plugins", "fame-cli"]


def rust_files(folder):
    return sorted(p for p in folder.rglob("*.rs") if "target" not in p.parts)


def blank_out(text):
    """The text with comments, strings and characters replaced by spaces; line breaks stay."""
    comment = r"//[^\n]*|/\*.*?\*/"
    string = r'b?r(?P<h>\#*)".*?"(?P=h)|b?"(?:\\.|[^"\\])*"'
    character = r"'(?:\\[^\n]{1,8}?|[^\\'\n])'"
    pattern = re.compile(f"{comment}|{string}|{character}", re.DOTALL)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def without_tests(code):
    """Blanked code without its `#[cfg(test)] mod … { … }`."""
    while m := re.search(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*mod \w+ \{", code):
        end = closing(code, m.end() - 1)
        code = code[: m.start()] + re.sub(r"[^\n]", " ", code[m.start() : end]) + code[end:]
    return code


def closing(code, opening):
    depth = 0
    for i in range(opening, len(code)):
        depth += {"{": 1, "}": -1}.get(code[i], 0)
        if depth == 0:
            return i + 1
    return len(code)


def functions(code):
    """Name, line and length in lines of every function with a body."""
    for m in re.finditer(r"\bfn (\w+)", code):
        # The body opens at the first brace outside of brackets; a declaration ends with `;` first.
        depth = 0
        for i in range(m.end(), len(code)):
            c = code[i]
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(c, 0)
            if depth == 0 and c == ";":
                break
            if depth == 0 and c == "{":
                lines = code.count("\n", m.start(), closing(code, i)) + 1
                yield m.group(1), code.count("\n", 0, m.start()) + 1, lines
                break


def doc_share(files, tests=True):
    """The lines beginning with /// or //!, and the lines that are not blank; without `tests`, their
    files and modules are left out."""
    doc = total = 0
    for path in files:
        text = path.read_text()
        lines = text.splitlines()
        if not tests:
            blanked = blank_out(text)
            kept = without_tests(blanked).splitlines()
            lines = [line for line, a, b in zip(lines, blanked.splitlines(), kept) if a == b]
        for line in lines:
            line = line.strip()
            total += bool(line)
            doc += line.startswith(("///", "//!"))
    return doc, total


def height(path):
    return len(path.read_text().splitlines())


def is_test(path):
    return path.stem in ("tests", "test") or path.stem.endswith("_tests") or "tests" in path.parts


def room(path, source):
    parts = path.relative_to(source).parts
    return parts[0] if len(parts) > 1 else "."


def rooms(crate):
    source = crate / "src"
    table = defaultdict(list)
    for path in rust_files(source):
        table[room(path, source)].append(path)
    return table


def circles(core):
    """The rooms of fame-core that lead back to themselves; see tests/structure/circles.rs."""
    source = core / "src"
    files = [p for p in rust_files(source) if p.stem != "tests"]
    code = {p: without_tests(blank_out(p.read_text())) for p in files}

    def top(path):
        first = path.relative_to(source).parts[0]
        return first.removesuffix(".rs")

    names = {top(p) for p in files} - {"lib"}
    at_root = {}
    for m in re.finditer(r"pub use (?:crate::)?(\w+)::([^;]+);", code[source / "lib.rs"]):
        for leaf in re.split(r"[{},]", m.group(2)):
            at_root[leaf.split(" as ")[-1].split("::")[-1].strip()] = m.group(1)
    for path, text in code.items():
        for m in re.finditer(r"#\[macro_export\]\s*macro_rules!\s*(\w+)", text):
            at_root[m.group(1)] = top(path)

    arrows = defaultdict(set)
    for path, text in code.items():
        if top(path) == "lib":
            continue
        parts = path.relative_to(source).parts
        depth = len(parts) - (parts[-1] == "mod.rs")
        start = r"(?<![\w:])(?:crate::|" + "super::" * depth + r"(?!super::))"
        for m in re.finditer(start, text):
            for head in heads(text[m.end() :]):
                target = head if head in names else at_root.get(head)
                if target and target != top(path):
                    arrows[top(path)].add(target)

    def reaches(start):
        seen, todo = set(), [start]
        while todo:
            for target in arrows[todo.pop()] - seen:
                seen.add(target)
                todo.append(target)
        return seen

    return sorted(name for name in names if name in reaches(name))


def heads(rest):
    """The first name of the path that begins here, or of each path of the list that does."""
    rest = rest.lstrip()
    if not rest.startswith("{"):
        return re.findall(r"^\w+", rest)
    depth, begins, found = 0, True, []
    for i, c in enumerate(rest):
        if c == "{":
            depth += 1
        elif c == "}":
            depth -= 1
            if depth == 0:
                break
        elif c == "," and depth == 1:
            begins = True
        elif begins and depth == 1 and not c.isspace():
            found += re.findall(r"^\w+", rest[i:])
            begins = False
    return found


def duplicates(files):
    """Blocks of at least BLOCK lines that stand more than once, grown as far as they agree.

    Compared are lines without blanks around them; blank lines, comments, imports and lines of only
    brackets do not count, so that a block is that many lines of meaning.
    """
    lines = []
    for path in files:
        inside_use = False
        for n, line in enumerate(path.read_text().splitlines(), 1):
            text = line.strip()
            if re.match(r"(pub(\(\w+\))? )?use ", text):
                inside_use = True
            says_nothing = not text or text.startswith("//") or re.fullmatch(r"[\W_]+", text)
            if not (inside_use or says_nothing):
                lines.append((path, n, text))
            inside_use = inside_use and not text.endswith(";")
        lines.append((path, None, object()))
    seen = defaultdict(list)
    for i in range(len(lines) - BLOCK + 1):
        block = tuple(text for _, _, text in lines[i : i + BLOCK])
        if all(isinstance(text, str) for text in block):
            seen[block].append(i)
    found, covered = [], set()
    for starts in sorted(seen.values()):
        starts = [i for i in starts if i not in covered]
        if len(starts) < 2:
            continue
        length = BLOCK
        while all(i + length < len(lines) for i in starts):
            following = {lines[i + length][2] for i in starts}
            if len(following) > 1 or not isinstance(following.pop(), str):
                break
            length += 1
        covered.update(i + k for i in starts for k in range(length))
        found.append((length, [lines[i][:2] for i in starts]))
    return sorted(found, key=lambda block: -block[0] * len(block[1]))


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    everything = []
    for name in CRATES:
        print(f"{name}")
        for place, files in sorted(rooms(root / name).items()):
            longest = max(files, key=height)
            print(
                f"  {place:<14} {len(files):>3} files {sum(map(height, files)):>6} lines,"
                f" longest {longest.name} {height(longest)}"
            )
            everything += files
    code = [p for p in everything if not is_test(p.relative_to(root))]

    print("longest files")
    for path in sorted(everything, key=height, reverse=True)[:5]:
        print(f"  {height(path):>4} {path.relative_to(root)}")
    print(f"  {sum(height(p) > 300 for p in everything)} files of more than 300 lines")

    bodies = []
    for path in code:
        blanked = without_tests(blank_out(path.read_text()))
        for name, line, n in functions(blanked):
            bodies.append((n, f"{path.relative_to(root)}:{line} {name}"))
    bodies.sort(key=lambda body: (-body[0], body[1]))
    print("longest functions, tests apart")
    for n, where in bodies[:5]:
        print(f"  {n:>4} {where}")
    lengths = sorted(n for n, _ in bodies)
    over = sum(n > 60 for n in lengths)
    print(f"  median {lengths[len(lengths) // 2]} of {len(lengths)}, {over} over 60")

    print("documentation")
    core = root / "fame-core" / "src"
    no_tests = [p for p in rust_files(core) if not is_test(p.relative_to(core))]
    for label, files, tests in [
        ("fame-core/src/contract", rust_files(core / "contract"), True),
        ("fame-core", rust_files(core), True),
        ("fame-core, tests apart", no_tests, False),
    ]:
        doc, total = doc_share(files, tests)
        print(f"  {label}: {100 * doc / total:.1f} % ({doc} of {total} lines)")

    print(f"lines over {WIDTH} columns")
    for name in CRATES + ["tests"]:
        wide = [
            len(line)
            for path in rust_files(root / name)
            for line in path.read_text().splitlines()
            if len(line) > WIDTH
        ]
        print(f"  {name}: {len(wide)}, {sum(n > 140 for n in wide)} over 140")

    looped = circles(root / "fame-core")
    print(f"rooms of fame-core in circles: {len(looped)} {' '.join(looped)}".rstrip())

    found = duplicates(code)
    repeated = sum(length * (len(places) - 1) for length, places in found)
    print(f"duplicates of {BLOCK} lines or more: {len(found)}, {repeated} lines repeated")
    for length, places in found[:10]:
        where = ", ".join(f"{p.relative_to(root)}:{n}" for p, n in places)
        print(f"  {length} lines: {where}")


if __name__ == "__main__":
    main()
