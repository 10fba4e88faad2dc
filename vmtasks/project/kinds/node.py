"""Node: what package.json's script ``test`` is, after the packages of the lock have been installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vmtasks.project.kinds.kind import Guess, Tree, Way, only_says, table, word

_INSTALL = {
    "package-lock.json": ("npm ci --no-audit --no-fund", "npm test"),
    "npm-shrinkwrap.json": ("npm ci --no-audit --no-fund", "npm test"),
    "pnpm-lock.yaml": ("npx --yes pnpm install --frozen-lockfile", "npx pnpm test"),
    "yarn.lock": ("npx --yes yarn install --frozen-lockfile", "npx yarn test"),
}
"""Lock -> what installs what it names, and what tests."""
_BERRY = re.compile(r"yarn@((?:[2-9]|[1-9][0-9])[0-9.]*+)")
"""The release of Yarn 2 or later that a package asks for, in ``packageManager``."""
_LOCKED_BY_BERRY = re.compile(r"^__metadata:\n\s++version: ([0-9]++)", re.MULTILINE)
_WRITES_LOCK = {"6": "3", "8": "4.12.0"}
"""Version of a yarn.lock -> a release of Yarn that writes this version: every other one would change the lock."""
_UNLOCKED = ("npm install --no-audit --no-fund", "npm test")
_OLDEST = re.compile(r"\s*+(?:>=|\^|~)?\s*+v?([0-9][0-9.]*+)")
_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
_LOCAL = ("file:", "link:", "portal:", "workspace:", ".", "/", "~/")
"""What begins a version that is a directory."""
_OF_AN_INSTALLATION = ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare")
"""The package's own scripts that an installation runs in the end, in this order."""
_OF_A_RELEASE = ("prepack", "preprepare", "prepare", "postprepare", "postpack")
"""... and those that ``npm pack`` runs."""
# They are the package's own, and wait until it is there; what it is made of stays as it is.
_WITHOUT_SCRIPTS = (
    "rm -rf ../.npm && mkdir ../.npm && cp {files} ../.npm && cd ../.npm && npm pkg delete scripts && {install} && "
    'mv node_modules "$OLDPWD"'
)
_CONFIGURED_ELSEWHERE = ("pnpm-workspace.yaml", ".pnpmfile.cjs", ".yarnrc.yml", ".yarnrc", "binding.gyp")
"""Files that make an installation need more of the tree than its lock."""


def look(tree: Tree) -> Guess | None:
    """Look for a package.json that is of a package, and not only a list of tools."""
    package = tree.json("package.json")
    script = word(table(package, "scripts").get("test"))
    if not (package.get("name") or script):
        return None
    oldest = _OLDEST.match(word(table(package, "engines").get("node")))
    is_none = not script or "no test specified" in script or only_says(script)
    return Guess(
        kind="a Node package",
        known_by="package.json",
        name=word(package.get("name")).lstrip("@").replace("/", "-"),
        version=word(package.get("version")),
        packages=("nodejs", "npm"),
        tool=("node", oldest[1] if oldest else ""),
        test=None if is_none else _test(tree, package),
        untested=f"its script test only prints: {script}" if only_says(script) else "",
        dist=None if package.get("private") else _dist(tree, package),
    )


def _dist(tree: Tree, package: Mapping[str, Any]) -> Way:
    """Return what packs it: with its dependencies installed where they are packed, too, or a script needs them."""
    needs_them = any(name in table(package, "scripts") for name in _OF_A_RELEASE) or any(
        package.get(name) for name in ("bundleDependencies", "bundledDependencies")
    )
    if not needs_them or _berry(tree, package):
        return Way(line="npm pack")
    install, _ = _INSTALL.get(_lock(tree), _UNLOCKED)
    return Way(line=f"{install} && npm pack")


def _lock(tree: Tree) -> str:
    return next((name for name in _INSTALL if tree.has(name)), "")


def _test(tree: Tree, package: Mapping[str, Any]) -> Way:
    """Return what tests it: with the packages installed before there is more of it than its lock, if they can be."""
    lock = _lock(tree)
    if berry := _berry(tree, package):
        return Way(line=berry)  # by default, it has no node_modules, and what it has is not apart from the tree
    install, test = _INSTALL.get(lock, _UNLOCKED)
    if not _is_apart(tree, package):
        return Way(line=f"{install} && {test}")
    files = ("package.json", *filter(None, [lock]), *(name for name in (".npmrc",) if tree.has(name)))
    scripts = [name for name in _OF_AN_INSTALLATION if name in table(package, "scripts")]
    if not scripts:
        line = f"{{ [ -d node_modules ] || {install}; }} && {test}"
        return Way(line=line, prepare=install, installs=install, prepare_files=files)
    runner = test.removesuffix("test")
    later = " && ".join(f"{runner}run {name}" for name in _without_neighbours(scripts))
    return Way(
        line=f"if [ -d node_modules ]; then {later}; else {install}; fi && {test}",
        prepare=_WITHOUT_SCRIPTS.format(files=" ".join(files), install=install),
        installs=install,
        prepare_files=files,
    )


def _berry(tree: Tree, package: Mapping[str, Any]) -> str:
    """Return the line that tests a package by Yarn 2 or later; empty if it is none for that.

    The package ``yarn`` ends with Yarn 1: later ones are in ``@yarnpkg/cli-dist``, from 3.0 on.
    """
    asked = _BERRY.match(word(package.get("packageManager")))
    lock = _LOCKED_BY_BERRY.search(tree.text("yarn.lock"))
    if not asked and not lock:
        return ""
    release = asked[1] if asked and not asked[1].startswith("2.") else _WRITES_LOCK.get(lock[1] if lock else "", "")
    yarn = f"npx --yes @yarnpkg/cli-dist@{release or '4'}"
    return f"{yarn} install{' --immutable' if lock and release else ''} && {yarn} run test"


def _is_apart(tree: Tree, package: Mapping[str, Any]) -> bool:
    """Whether it has dependencies, and they are told by package.json and its lock alone."""
    versions = [version for kind in _DEPENDENCIES for version in table(package, kind).values()]
    return (
        bool(versions)
        and not package.get("workspaces")
        and not tree.has("node_modules", *_CONFIGURED_ELSEWHERE)
        and not any(word(version).startswith(_LOCAL) for version in versions)
    )


def _without_neighbours(scripts: list[str]) -> list[str]:
    """Leave out what ``npm run`` runs before and after another of them."""
    around = {f"{when}{name}" for name in ("install", "prepare") if name in scripts for when in ("pre", "post")}
    return [name for name in scripts if name not in around]
