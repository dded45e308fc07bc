#!/bin/sh
# Installs what the lab and the tests need from Debian or Ubuntu packages, or lists it.
#
#   sudo scripts/setup-system.sh     installs what is missing
#   scripts/setup-system.sh          (not root) lists what is missing, exit code 1
#
# Instant when everything is there. QEMU 10.0 and the guest kernel are not installed here: the lab
# fetches them into its cache on first use and leaves the system alone.
set -eu

# package:program or package alone where dpkg must be asked
wanted="
qemu-system-x86:qemu-system-x86_64
memcached:memcached
redis-server:redis-server
libmemcached-tools:memcaslap
busybox-static:
iproute2:tc
util-linux:setpriv
python3-venv:
cpio:cpio
gzip:gzip
dpkg:dpkg
binutils:objdump
gcc:cc
libc6-dev:
python3-dev:
chromium:chromium
chromium-driver:chromedriver
openssh-server:sshd
openssh-client:ssh
stunnel4:stunnel4
openssl:openssl
e2fsprogs:mkfs.ext4
man-db:man
"

installed() {
    dpkg -s "$1" 2>/dev/null | grep -q '^Status: install ok installed'
}

missing=""
for entry in $wanted; do
    package=${entry%%:*}
    program=${entry#*:}
    if [ -n "$program" ] && command -v "$program" >/dev/null 2>&1; then
        continue
    fi
    installed "$package" || missing="$missing $package"
done
# A Python that is not Debian's brings its own venv and headers.
if python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing=$(printf '%s' "$missing" | sed 's/ python3-venv//')
fi
if [ -f "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; then
    missing=$(printf '%s' "$missing" | sed 's/ python3-dev//')
fi

if [ -z "$missing" ]; then
    echo "setup-system: everything is here"
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup-system: no apt-get here; install by hand what these Debian packages hold:$missing" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "setup-system: missing:$missing" >&2
    echo "setup-system: as root run: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "setup-system: installing$missing"
# A third-party source that cannot be reached must not stop us; the install tells what really lacks.
apt-get update -qq || echo "setup-system: apt-get update complained, going on" >&2
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing

# The lab starts these programs itself; the services that their packages start are not wanted.
if [ -d /run/systemd/system ]; then
    for service in memcached:memcached redis-server:redis-server openssh-server:ssh; do
        case " $missing " in
        *" ${service%%:*} "*) systemctl disable --quiet --now "${service#*:}" || true ;;
        esac
    done
fi
echo "setup-system: done"
