"""A hub small enough to read: the REST paths that pulling and pushing a weight use, served from memory."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


class LocalHub:
    """Repositories with branches and commits.

    ``tampered`` bytes are served instead of those that are stated; a ``status`` is the answer to everything.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, Files]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.private: dict[str, bool] = {}
        self.gated: set[str] = set()
        self.tampered: dict[str, bytes] = {}
        self.stored: dict[str, bytes] = {}
        self.token: str | None = None
        self.status = 0
        self.endpoint = ""
        self.requests: list[str] = []

    def add(self, repo: str, files: Files, revision: str = "main") -> str:
        """Make a commit on top of a branch and return its name."""
        branches = self.branches.setdefault(repo, {})
        commits = self.commits.setdefault(repo, {})
        whole = {**commits.get(branches.get(revision, branches.get("main", "")), {}), **files}
        commit = hashlib.sha1(repr((len(commits), sorted(whole.items()))).encode()).hexdigest()
        commits[commit], branches[revision] = whole, commit
        return commit

    def commit_of(self, repo: str, revision: str) -> str | None:
        """Return the commit of a branch, or of a commit's own name."""
        found = self.branches[repo].get(revision, revision)
        return found if found in self.commits[repo] else None


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def say(self, value: Any, status: int = 200, **headers: str) -> None:
        self.answer(status, json.dumps(value).encode(), **{"Content-Type": "application/json", **headers})

    def refuse(self, status: int, code: str) -> None:
        self.say({"error": code}, status, **{"X-Error-Code": code, "X-Error-Message": code})

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.say({"error": "Unauthorized"}, 401)
        if self.hub.status:
            return self.say({"error": "no"}, self.hub.status)
        for pattern, act in ROUTES.items():
            if (found := re.fullmatch(pattern, f"{self.command} {path}")) is not None:
                return act(self, body, *found.groups())
        return self.say({"error": "no such path"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def info(self, body: bytes, repo: str, revision: str | None) -> None:
        if repo not in self.hub.commits:
            return self.refuse(404, "RepoNotFound")
        commit = self.hub.commit_of(repo, revision or "main")
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        files = self.hub.commits[repo][commit].items()
        return self.say({"id": repo, "sha": commit, "siblings": [_stated(name, data) for name, data in files]})

    def file(self, body: bytes, repo: str, revision: str, name: str) -> None:
        if repo in self.hub.gated:
            return self.refuse(403, "GatedRepo")
        commit = self.hub.commit_of(repo, revision)
        if commit is None or name not in self.hub.commits[repo][commit]:
            return self.refuse(404, "EntryNotFound")
        data = self.hub.tampered.get(name, self.hub.commits[repo][commit][name])
        etag = _digest(name, self.hub.commits[repo][commit][name])
        return self.answer(200, data, ETag=f'"{etag}"', X_Repo_Commit=commit)

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.commits:
            return self.say({"url": f"{self.hub.endpoint}/{repo}"}, 409)
        self.hub.add(repo, {})
        self.hub.private[repo] = asked.get("visibility") == "private" or bool(asked.get("private"))
        return self.say({"url": f"{self.hub.endpoint}/{repo}"})

    def branch(self, body: bytes, repo: str, name: str) -> None:
        self.hub.branches[repo].setdefault(name, self.hub.branches[repo]["main"])
        self.say({})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        names = [entry["path"] for entry in json.loads(body)["files"]]
        modes = [{"path": n, "uploadMode": "lfs" if _large(n) else "regular", "shouldIgnore": False} for n in names]
        self.say({"files": modes})

    def batch(self, body: bytes, repo: str) -> None:
        objects = [
            {**entry, "actions": {"upload": {"href": f"{self.hub.endpoint}/upload/{entry['oid']}"}}}
            for entry in json.loads(body)["objects"]
        ]
        self.say({"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, digest: str) -> None:
        if hashlib.sha256(body).hexdigest() != digest:
            return self.say({"error": "another checksum"}, 400)
        self.hub.stored[digest] = body
        return self.answer(200)

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        files: Files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
        commit = self.hub.add(repo, files, revision)
        self.say({"success": True, "commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{repo}/commit/{commit}"})


REPO = "([^/]+/[^/]+)"
ROUTES = {
    f"GET /api/models/{REPO}(?:/revision/(.+))?": _Handler.info,
    "POST /api/repos/create": _Handler.create,
    f"POST /api/models/{REPO}/branch/(.+)": _Handler.branch,
    f"POST /api/models/{REPO}/preupload/(.+)": _Handler.preupload,
    f"POST /api/models/{REPO}/commit/(.+)": _Handler.commit,
    rf"POST /{REPO}\.git/info/lfs/objects/batch": _Handler.batch,
    "PUT /upload/(.+)": _Handler.upload,
    "POST /api/validate-yaml": lambda self, body: self.say({"errors": [], "warnings": []}),
    f"(?:GET|HEAD) /{REPO}/resolve/([^/]+)/(.+)": _Handler.file,
}


def _large(name: str) -> bool:
    return name.endswith(".safetensors")


def _digest(name: str, data: bytes) -> str:
    """Return what a hub names a file by: the sha256 where it is large, else git's name of the blob."""
    return (
        hashlib.sha256(data).hexdigest() if _large(name) else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    )


def _stated(name: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    large = {"lfs": {"sha256": _digest(name, data), "size": len(data), "pointerSize": 130}} if _large(name) else {}
    return {"rfilename": name, "size": len(data), "blobId": blob, **large}


@contextmanager
def serving() -> Iterator[LocalHub]:
    """A hub at an address of this machine, for as long as the block lasts."""
    hub = LocalHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
