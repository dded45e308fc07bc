#!/bin/sh
# One host of the lab, as the first process of its own mount, PID, UTS and IPC namespaces. Its /usr is an
# overlay of unpacked packages, /etc and /var are overlays with upper layers of their own, /run is empty.
# Nothing is installed, and nothing outside is written.
#
# host.sh NAME NUMBER ADDRESS OTHER-ADDRESS FOLDER LOWER MODULES FILE...
#   FOLDER   an empty folder, over which this host's own memory file system comes
#   LOWER    the packages' /usr folders, joined by colons
#   MODULES  QEMU's modules, where LOWER has a QEMU of its own; else empty
#   FILE     files that QEMU's user must be able to read: copied to /run/images
set -eu
name=$1 number=$2 address=$3 folder=$5 lower=$6 modules=$7
other=$4
shift 7
mount --make-rprivate /
mount -t tmpfs lab "$folder"
mount -t overlay -o "lowerdir=$lower:/usr" lab /usr
# QEMU ends itself on modules of another build, which the overlay would show beside its own.
[ -z "$modules" ] || mount --bind "$modules" /usr/lib/x86_64-linux-gnu/qemu
for each in etc var; do
  mkdir -p "$folder/$each" "$folder/$each.work"
  mount -t overlay -o "lowerdir=/$each,upperdir=$folder/$each,workdir=$folder/$each.work" lab "/$each"
done
mount -t tmpfs run /run
mkdir -p /run/lock /run/guest /etc/libvirt /var/log/libvirt/qemu
chmod 777 /run/guest
mkdir /run/images
cp "$@" /run/images
# A KVM that QEMU's user may open but that does not work makes libvirt probe QEMU anew each time (31 s).
install -m 000 /dev/null /run/no-kvm
[ ! -e /dev/kvm ] || mount --bind /run/no-kvm /dev/kvm
grep -q '^libvirt-qemu:' /etc/passwd ||
  echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/passwd
grep -q '^libvirt-qemu:' /etc/group ||
  printf 'libvirt-qemu:x:64055:\nlibvirt:x:64056:\nkvm:x:64057:\n' >>/etc/group
echo "$name" >/etc/hostname
hostname "$name"
printf '127.0.0.1 localhost\n%s hosta\n%s hostb\n' "$address" "$other" >/etc/hosts
[ "$number" = 1 ] || printf '127.0.0.1 localhost\n%s hosta\n%s hostb\n' "$other" "$address" >/etc/hosts
cat >/etc/libvirt/libvirtd.conf <<END
host_uuid = "0000000$number-1111-4222-8333-444444444444"
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_rw = "none"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
END
cat >/etc/libvirt/qemu.conf <<END
user = "libvirt-qemu"
group = "libvirt-qemu"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
remember_owner = 0
END
: >/run/ready
# Orphans that end are reaped by the kernel: libvirtd waits until a QEMU that it ended is gone.
exec env --ignore-signal=CHLD sleep infinity
