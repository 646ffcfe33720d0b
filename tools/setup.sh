#!/usr/bin/env bash
# Makes a Debian 12 machine ready to run Cloche from this folder, and says each thing it does. Run as root.
# Twice does no harm: what is there is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=/usr/bin/python3
# What is installed, and what for.
PACKAGES=(
	python3      # runs everything
	python3-venv # keeps the Python libraries in .venv, away from the system's
	libbpf1      # loads the eBPF object
	iproute2     # ip: looking at links and namespaces by hand; the tests use it
	nftables     # source NAT for what leaves the machine
)

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
stop() {
	printf 'cannot go on: %s\n' "$*" >&2
	exit 2
}

check_machine() {
	[ "$(id -u)" = 0 ] || stop "not root. Loading eBPF and making network namespaces need root"
	local release major minor
	release=$(uname -r)
	major=${release%%.*}
	minor=${release#*.}
	minor=${minor%%[!0-9]*}
	if ((major < 6 || (major == 6 && minor < 1))); then
		stop "kernel $release. The programs need 6.1 (Debian 12's own) or newer"
	fi
	[ -r /sys/kernel/btf/vmlinux ] || stop "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF); the object needs it"
}

install_packages() {
	local missing=() package
	for package in "${PACKAGES[@]}"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || stop "no apt-get here; install by hand: ${missing[*]}"
	say "installing Debian packages: ${missing[*]}"
	apt-get update -qq </dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

mount_bpffs() {
	[ "$(stat -f -c %T /sys/fs/bpf 2>/dev/null)" = bpf_fs ] && return 0
	say "mounting bpffs on /sys/fs/bpf (pinned maps and links live there)"
	mount -t bpf bpf /sys/fs/bpf
}

make_venv() {
	local stamp=.venv/.made-from
	if [ -x .venv/bin/python ] && ! [ -e "$stamp" ]; then
		say "using the .venv that is here already"
		return 0
	fi
	if [ -e "$stamp" ] && cmp -s "$stamp" <(cat requirements.lock pyproject.toml); then
		return 0
	fi
	say "installing the Python libraries of requirements.lock into .venv"
	"$PYTHON" -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	say "installing Cloche into .venv (compiles the eBPF object)"
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	cat requirements.lock pyproject.toml >"$stamp"
}

check_machine
install_packages
mount_bpffs
make_venv
.venv/bin/python tools/build_bpf.py # a compiled object that is older than its sources is made anew
