#!/bin/busybox sh
# disk PORT SLOTS: writes files to the disk, each named SLOT-SHA256, until somebody connects to PORT.
while read -r module; do insmod "$module"; done </etc/disk-module-order
mkdir /disk
mount -t ext4 /dev/vda /disk || { echo "pagethrift: disk cannot be mounted"; exit 1; }
nc -l -p "$1" </dev/null >/dev/null &
listener=$!
written=0
while kill -0 $listener 2>/dev/null; do
  dd if=/dev/urandom of=/tmp/block bs=16k count=4 2>/dev/null
  sum=$(sha256sum </tmp/block)
  slot=$((written % $2))
  rm -f /disk/$slot-*
  cp /tmp/block "/disk/$slot-${sum%% *}"
  sync
  written=$((written + 1))
done
umount /disk && echo "pagethrift: disk took $written files"
