"""Node: what package.json's script ``test`` is, after the packages of the lock have been installed."""

from __future__ import annotations

import re

from vmtasks.project.kinds.kind import Guess, Tree, Way, table, word

_INSTALL = {
    "package-lock.json": ("npm ci --no-audit --no-fund", "npm test"),
    "npm-shrinkwrap.json": ("npm ci --no-audit --no-fund", "npm test"),
    "pnpm-lock.yaml": ("npx --yes pnpm install --frozen-lockfile", "npx pnpm test"),
    "yarn.lock": ("npx --yes yarn install --frozen-lockfile", "npx yarn test"),
}
"""Lock -> what installs what it names, and what tests."""
_UNLOCKED = ("npm install --no-audit --no-fund", "npm test")
_OLDEST = re.compile(r"\s*+(?:>=|\^|~)?\s*+v?([0-9][0-9.]*+)")


def look(tree: Tree) -> Guess | None:
    """Look for a package.json that is of a package, and not only a list of tools."""
    package = tree.json("package.json")
    script = word(table(package, "scripts").get("test"))
    if not (package.get("name") or script):
        return None
    install, test = next((ways for lock, ways in _INSTALL.items() if tree.has(lock)), _UNLOCKED)
    oldest = _OLDEST.match(word(table(package, "engines").get("node")))
    is_none = not script or "no test specified" in script
    return Guess(
        kind="a Node package",
        known_by="package.json",
        name=word(package.get("name")).lstrip("@").replace("/", "-"),
        version=word(package.get("version")),
        packages=("nodejs", "npm"),
        tool=("node", oldest[1] if oldest else ""),
        test=None if is_none else Way(line=f"{install} && {test}"),
        dist=None if package.get("private") else Way(line="npm pack"),
    )
