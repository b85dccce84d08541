#!/usr/bin/env python3
"""Reads an IPS archive back, with nothing of the program that wrote it.

    read_p5p.py ARCHIVE MANIFEST ROOT VERSION

Every member is where the index says; every action of MANIFEST (of the sources,
with payloads below ROOT) is in the package's, with the same path, mode, owner
and group, and its payload has the bytes, sizes and hashes that both say; there
is nothing else. Every image that the package's variants describe is whole: no
path twice, and each in a folder. The debug module is another than the one
that ships, and each image has one. Prints what is wrong, and exits with 1; otherwise how much was
read.
"""

import gzip
import hashlib
import itertools
import shlex
import sys
import tarfile
import urllib.parse
import xml.dom.minidom
import xml.parsers.expat

wrong = []


def check(fine, what):
    if not fine:
        wrong.append(what)


def actions(text):
    """Kind, payload and attributes (a list of values for each) of each line."""
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
        kind, *words = lexer
        payload = words.pop(0) if words and "=" not in words[0] else None
        attributes = {}
        for word in words:
            name, value = word.split("=", 1)
            attributes.setdefault(name, []).append(value)
        yield kind, payload, attributes


def read_index(archive, file):
    """Checks that the index describes the archive as it is."""
    first = archive.getmembers()[0]
    check(first.name == "pkg5.index.0.gz", "the first member isn't an index")
    comment = first.pax_headers.get("comment")
    check(comment == "pkg5.archive.version.0", f"the index is marked {comment}")
    start = first.offset_data + (first.size + 511) // 512 * 512
    lines = gzip.decompress(archive.extractfile(first).read()).split(b"\0\n")
    told = {}
    for line in filter(None, lines):
        name, offset, taken, size, kind = line.split(b"\0")
        told[name.decode()] = (int(offset), int(taken), int(size), kind)
    members = archive.getmembers()[1:]
    check(len(told) == len(members), "the index has another number of members")
    for member in members:
        kind = b"5" if member.isdir() else b"0"
        taken = member.offset_data - member.offset + (member.size + 511) // 512 * 512
        found = (member.offset - start, taken, member.size, kind)
        name = member.name.rstrip("/")
        check(told.get(name) == found, f"the index has {name} at {told.get(name)}, it is at {found}")
        check((member.uid, member.gid, member.uname, member.gname) == (0, 0, "root", "root"), f"{name} isn't root's")
        check(member.mode == (0o755 if member.isdir() else 0o644), f"{name} has mode {member.mode:o}")
    return {member.name.rstrip("/"): member for member in members}


def check_payload(archive, members, used, home, payload, attributes, expected):
    """Whether the bytes are those of the file that the manifest names."""
    name = f"{home}/file/{payload[:2]}/{payload}"
    used.add(name)
    if name not in members:
        wrong.append(f"{name} isn't there")
        return
    packed = archive.extractfile(members[name]).read()
    try:
        unpacked = gzip.decompress(packed)
    except (OSError, EOFError) as error:
        wrong.append(f"{name}: {error}")
        return
    what = attributes.get("path", ["the licence"])[0]
    if what.endswith(".xml"):
        try:
            xml.dom.minidom.parseString(unpacked)
        except xml.parsers.expat.ExpatError as error:
            wrong.append(f"{what}: {error}")
    check(unpacked == expected, f"{what}: not the bytes of the file that was built")
    check(hashlib.sha1(unpacked).hexdigest() == payload, f"{what}: SHA-1")
    check(attributes["chash"] == [hashlib.sha1(packed).hexdigest()], f"{what}: chash")
    check(attributes["pkg.size"] == [str(len(unpacked))], f"{what}: pkg.size")
    check(attributes["pkg.csize"] == [str(len(packed))], f"{what}: pkg.csize")
    hashes = {
        "file:sha256:" + hashlib.sha256(unpacked).hexdigest(),
        "gzip:sha256:" + hashlib.sha256(packed).hexdigest(),
    }
    check(set(attributes["pkg.content-hash"]) == hashes, f"{what}: pkg.content-hash")


MODULE = "kernel/drv/amd64/xde"
DEBUG = "variant.debug.illumos"
ZONE = "variant.opensolaris.zone"


def check_images(made):
    """Whether what is installed is whole, for each choice of variants."""
    told = {a["name"][0]: a["value"] for kind, _, a in made if kind == "set" and a["name"][0].startswith("variant.")}
    used = {name for _, _, a in made for name in a if name.startswith("variant.")}
    check(used <= told.keys(), f"the package doesn't say that it has {used - told.keys()}")
    check(told.get(DEBUG) == ["false", "true"], f"{DEBUG} is {told.get(DEBUG)}")
    check(told.get(ZONE) == ["global", "nonglobal"], f"{ZONE} is {told.get(ZONE)}")
    modules = {}
    for choice in itertools.product(*told.values()):
        image = dict(zip(told, choice))
        where = " ".join(image.values())
        fits = [
            (kind, payload, attributes)
            for kind, payload, attributes in made
            if all(attributes.get(name, [value]) == [value] for name, value in image.items())
        ]
        paths = set()
        for kind, payload, attributes in fits:
            if kind not in ("file", "dir"):
                continue
            path = attributes["path"][0]
            check(path not in paths, f"{where}: {path} twice")
            paths.add(path)
            parent = path.rpartition("/")[0]
            check(parent == "" or parent in paths, f"{where}: nobody makes {parent}")
            if path == MODULE:
                modules[image.get(DEBUG), image.get(ZONE)] = payload
        drivers = sum(kind == "driver" for kind, _, _ in fits)
        expected = int(image.get(ZONE) == "global")
        check(drivers == expected, f"{where}: {drivers} drivers")
        check((MODULE in paths) == bool(expected), f"{where}: it {'lacks' if expected else 'has'} the module")
    check(len(set(modules.values())) == 2, f"modules of the variants: {modules}")


ADDED = ["chash", "pkg.size", "pkg.csize", "pkg.content-hash"]


def main(archive_path, manifest_path, root, version):
    archive = tarfile.open(archive_path, "r:")
    members = read_index(archive, archive_path)
    source = list(actions(open(manifest_path).read()))
    publishers = {name.split("/")[1] for name in members if name.count("/") >= 1}
    check(publishers == {"opte"}, f"publishers {publishers}")
    home = "publisher/opte"
    manifests = [n for n in members if n.startswith(home + "/pkg/") and n.count("/") == 4]
    check(len(manifests) == 1, f"manifests {manifests}")
    _, _, _, package, named = manifests[0].split("/")
    fmri = f"pkg://opte/{urllib.parse.unquote(package)}@{urllib.parse.unquote(named)}"
    check(f"@{version}," in fmri, f"{fmri} isn't version {version}")
    made = list(actions(archive.extractfile(members[manifests[0]]).read().decode()))
    fmris = [a["value"] for _, _, a in made if a.get("name") == ["pkg.fmri"]]
    check(fmris == [[fmri]], f"pkg.fmri {fmris}, stored as {fmri}")
    check(len(made) == len(source), f"{len(source)} actions became {len(made)}")
    check_images(made)
    used, paths, sizes = set(), set(), 0
    for (kind, payload, attributes), (wanted, file, asked) in zip(made, source):
        what = f"{wanted} {asked.get('path', asked.get('name', ['']))[0]}"
        check(kind == wanted, f"{what} became {kind}")
        kept = {name: value for name, value in attributes.items() if name not in ADDED}
        check(kept == asked, f"{what} has {kept}, not {asked}")
        if kind in ("file", "dir"):
            for name in ("path", "mode", "owner", "group"):
                check(name in attributes, f"{what} has no {name}")
            path = attributes["path"][0]
            paths.add(path)
            check(not path.startswith("/"), f"{path} isn't relative")
        if file is not None:
            expected = open(f"{root}/{file}", "rb").read()
            sizes += len(expected)
            check_payload(archive, members, used, home, payload, attributes, expected)
    stored = {n for n, m in members.items() if n.startswith(home + "/file/") and m.isfile()}
    check(stored == used, f"payloads that nobody names: {stored - used}")
    about = archive.extractfile(members["pkg5.repository"]).read().decode()
    check("prefix = opte" in about and "version = 4" in about, "pkg5.repository")
    for line in wrong:
        print(line)
    print(f"{len(made)} actions, {len(paths)} paths, {len(used)} payloads, {sizes} bytes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
