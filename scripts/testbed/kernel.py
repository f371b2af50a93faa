# SPDX-License-Identifier: GPL-2.0
"""Build kernels out of tree, in build/FLAVOUR. Run it in the toolbox.

FLAVOUR is check (debugging), kasan, kcsan (check and KASAN or KCSAN), 16k, 64k, module
(check with other page sizes, or with the driver as a module), or bench (no debugging), each
from build/linux. base-check, base-kasan, ... are the same of the unmodified base. fake-bench
is the base with the fixes and the fake SMMU, which are the first folders of the series, and
with the benchmark of the last folder. clang-check, clang-... are compiled with LLVM.

TARGET is a target of make, by default Image, and modules for module. The configuration is
allnoconfig with config/common.config and config/FLAVOUR.config. An option in these files
without effect is an error.

CONFIG=DIR has these files (default: config/). JOBS=N is the number of parallel jobs of make
(default: one for each CPU).
"""
import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.paths import BUILD, CONFIG, REPO, TREE, Error, locked
from testbed.process import checkout, git, said, watch

FRAGMENTS = Path(os.environ.get("CONFIG") or CONFIG)
CROSS = "" if platform.machine() == "aarch64" else "aarch64-linux-gnu-"
# So that the same source gives the same kernel
ENV = os.environ | {"ARCH": "arm64", "CROSS_COMPILE": CROSS, "KBUILD_BUILD_TIMESTAMP": "@0",
                    "KBUILD_BUILD_USER": "series", "KBUILD_BUILD_HOST": "toolbox"}
ON_CHECK = ("common", "check", "leaks")
KINDS = {"check": ON_CHECK, "bisect-check": ("common", "check"), "sparse": ("common", "corner-all"),
         "kasan": (*ON_CHECK, "kasan"), "kcsan": ("common", "check", "kcsan"),
         "16k": (*ON_CHECK, "16k"), "64k": (*ON_CHECK, "64k"), "module": (*ON_CHECK, "module")}
MEASURES = ("bench", "sparse", "corner-all")
DRIVER = "drivers/iommu/arm/arm-smmu-v3"
LAST_OF_FAKE = "iommu/arm-smmu-v3: Add vSMMUs to the fake SMMU"
BENCHMARK = "iommu/arm-smmu-v3: Measure invalidation and attaching with KUnit"
BIND = ('mkdir -p /src /obj && mount --bind "$1" /src && mount --bind "$2" /obj && '
        'shift 2 && exec "$@"')


def jobs() -> str:
    return os.environ.get("JOBS") or str(os.cpu_count() or 1)


def in_place(source: Path, out: Path) -> tuple[list[str], str, str]:
    """The beginning of a command that sees SOURCE and OUT, and their paths for it. In the
    toolbox these are the same for every clone and flavour, for the compiler cache."""
    unshare = ["unshare", "--mount", "--propagation", "unchanged"]
    if os.environ.get("TOOLBOX") != "inside" or said(*unshare, "true").returncode:
        return [], str(source), str(out)
    return [*unshare, "sh", "-ec", BIND, "sh", str(source), str(out)], "/src", "/obj"


def make(what: str, command: Sequence[str], log: Path, env: dict[str, str]) -> None:
    """Run make with its output in LOG, and show progress."""
    def progress(seconds: float) -> str:
        text = log.read_text(errors="replace")
        steps, last = re.findall("^  [A-Z]", text, re.M), (text.splitlines() or [""])[-1][:60]
        return f"{what}: {seconds:.0f} s, {len(steps)} steps, now {last}"

    with open(log, "a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, text=True,
                                   stderr=subprocess.STDOUT, env=env)
        watch(process, progress)
    if process.returncode:
        wrong = [l for l in log.read_text(errors="replace").splitlines()
                 if re.search(r"error|Error|\*\*\*", l)]
        where = f"{what} failed; all of it is in {log.relative_to(REPO)}"
        raise Error("\n".join([*wrong[:5], where]))


@dataclass
class Kernel:
    """A flavour of the kernel, and the tree that it is built from, if that is given."""
    flavour: str
    given: Path | None = None

    def __post_init__(self) -> None:
        self.out = BUILD / self.flavour
        self.kind = re.sub("^(base-)?(fake-)?(clang-)?", "", self.flavour)
        suffix = "check" if self.kind.endswith("-check") else self.kind
        self.names = KINDS.get(self.kind) or KINDS.get(suffix) or ("common", self.kind)
        self.source = self.given or TREE
        for name in self.names:
            if not (FRAGMENTS / f"{name}.config").is_file():
                raise Error(f"unknown flavour {self.flavour}: there is no "
                            f"{FRAGMENTS}/{name}.config")

    def targets(self) -> list[str]:
        return ["Image", "modules"] if self.kind.endswith("module") else ["Image"]

    def prepare(self) -> None:
        """Check out the source."""
        if re.search(r"[^A-Za-z0-9/._+-]", str(REPO)):
            raise Error(f"make does not accept special characters in a path: move {REPO}")
        if not TREE.is_dir():
            raise Error("there is no build/linux yet; run 'make apply'")
        if not self.given and self.flavour.startswith("base-"):
            self.source = BUILD / "base"
            checkout(self.source, "base")
        elif not self.given and self.flavour.startswith("fake-"):
            self.source = BUILD / "fake"
            self.prepare_fake()
        kconfig = self.source / "drivers/iommu/arm/Kconfig"
        if self.kind in MEASURES and "ARM_SMMU_V3_KUNIT_BENCH" in kconfig.read_text():
            self.names = (*self.names, "measure")

    def prepare_fake(self) -> None:
        """Check out the fixes and the fake SMMU, and add the benchmark of the series."""
        log = git("log", "--format=%H %s", "base..series").splitlines()
        commits = {subject: commit for commit, subject in (line.split(" ", 1) for line in log)}
        if not {LAST_OF_FAKE, BENCHMARK} <= commits.keys():
            raise Error(f"the series has no patch '{LAST_OF_FAKE}', or no '{BENCHMARK}'")
        checkout(self.source, commits[LAST_OF_FAKE])
        tests, name = self.source / DRIVER / "tests", "bench_kunit.c"
        (tests / name).write_text(git("show", f"series:{DRIVER}/tests/{name}") + "\n")
        with open(tests / "Makefile", "a", encoding="utf-8") as makefile:
            makefile.write("arm_smmu_v3_kunit-$(CONFIG_ARM_SMMU_V3_KUNIT_BENCH) += bench_kunit.o\n")
        kconfig = "drivers/iommu/arm/Kconfig"
        subprocess.run(["git", "-C", self.source, "apply"], check=True, text=True,
                       input=git("show", "--format=", commits[BENCHMARK], "--", kconfig) + "\n")
        git("add", "-A", tree=self.source)
        git("-c", "user.name=series", "-c", "user.email=series@localhost", "commit", "-q",
            "-m", "Measure as the series does", tree=self.source)

    def fragments(self) -> str:
        return "".join((FRAGMENTS / f"{name}.config").read_text() for name in self.names)

    def compiler(self) -> str:
        clang = self.flavour.startswith("clang-")
        return said("clang" if clang else f"{CROSS}gcc", "--version").stdout.splitlines()[0]

    def build(self, targets: Sequence[str]) -> None:
        """Build what is not up to date."""
        with locked(BUILD / f".{self.flavour}.lock"):
            self.prepare()
            made_from = hashlib.sha256((self.fragments() + Path(__file__).read_text()).encode())
            name = f"{made_from.hexdigest()[:12]} {self.compiler()}"
            stamp, file = self.stamp(f"{name} {' '.join(targets)}"), self.out / "stamp"
            there = targets[0] != "Image" or (self.out / "arch/arm64/boot/Image").is_file()
            if stamp and there and file.exists() and file.read_text() == stamp:
                print(f"kernel: build/{self.flavour} is up to date")
                return
            self.out.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
            start = time.monotonic()
            self.compile(name, not stamp, targets)
            if stamp:
                file.write_text(stamp)
            print(f"kernel: build/{self.flavour} made {' '.join(targets)} in "
                  f"{time.monotonic() - start:.0f} s")

    def stamp(self, made_from: str) -> str:
        """What the build is made from; nothing if that has no name, since there are changes
        that are not committed."""
        if git("status", "--porcelain", tree=self.source):
            return ""
        return f"{git('rev-parse', 'HEAD^{tree}', tree=self.source)} {made_from}\n"

    def compile(self, made_from: str, dirty: bool, targets: Sequence[str]) -> None:
        prefix, source, out = in_place(self.source, self.out)
        command = [*prefix, "make", "-C", source, f"O={out}"]
        env = dict(ENV | ({"LLVM": "1"} if self.flavour.startswith("clang-") else {}))
        for log in ("build.log", "config.log"):
            (self.out / log).write_text("")
        self.configure(command, f"{out}/fragments", made_from, dirty, env)
        make(f"build/{self.flavour}", [*command, f"-j{jobs()}", *targets],
             self.out / "build.log", env)

    def configure(self, command: Sequence[str], fragments: str, made_from: str, dirty: bool,
                  env: dict[str, str]) -> None:
        """Make the configuration again if anything has changed that it depends on."""
        (self.out / "fragments").write_text(self.fragments())
        files = git("ls-tree", "-r", "HEAD", tree=self.source).splitlines()
        kconfig = hashlib.sha256("\n".join(f for f in files if "Kconfig" in f).encode())
        name, done = f"{made_from} {kconfig.hexdigest()[:12]}\n", self.out / "configured"
        config, new = self.out / ".config", self.out / "new.config"
        if not dirty and config.exists() and done.exists() and done.read_text() == name:
            return
        done.unlink(missing_ok=True)
        make(f"build/{self.flavour}, configuration",
             [*command, "-s", "KCONFIG_CONFIG=new.config", f"KCONFIG_ALLCONFIG={fragments}",
              "allnoconfig"], self.out / "config.log", env)
        if not config.exists() or config.read_bytes() != new.read_bytes():
            shutil.copyfile(new, config)
        if missing := not_as_asked(self.fragments(), config.read_text()):
            config.unlink()
            raise Error(f"in build/{self.flavour}/.config these are not as asked for: "
                        f"{' '.join(missing)}; see what they depend on")
        done.write_text(name)


def not_as_asked(fragments: str, config: str) -> list[str]:
    """The options whose value in CONFIG is not that of FRAGMENTS. A later line overrides an
    earlier one."""
    option = re.compile(r"^(?:# )?(CONFIG_\w+)(?:=| is not set).*", re.M)
    want = {m[1]: m[0] for m in option.finditer(fragments)}
    have = {m[1]: m[0] for m in option.finditer(config)}
    return [name for name, line in want.items()
            if have.get(name, f"# {name} is not set") != line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-s", dest="source", type=Path, metavar="SOURCE",
                        help="build that tree instead, in build/FLAVOUR all the same")
    parser.add_argument("--known", action="store_true",
                        help="only check whether there is such a flavour")
    parser.add_argument("flavour", metavar="FLAVOUR")
    parser.add_argument("targets", metavar="TARGET", nargs="*")
    args = parser.parse_args()
    kernel = Kernel(args.flavour, args.source and args.source.resolve())
    if not args.known:
        kernel.build(args.targets or kernel.targets())
    return 0
