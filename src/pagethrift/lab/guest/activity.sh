#!/bin/sh
# What the guest does beside answering memcached:  activity NAME MIB MIB_PER_S
#
# Files in /area are guest memory (tmpfs). MIB is how much of it the activity keeps writing, MIB_PER_S the most
# it writes a second, 0 for as fast as it goes. Prints READY (from the environment) once it is prepared.
set -e
name=$1 mib=$2 rate=$3
trap 'echo "pagethrift: activity $name ended"' EXIT
piece_kib=256
pieces=$((mib * 1024 / piece_kib))
mkdir -p /area
mount -t tmpfs -o size=90% area /area
cd /area

clock() { # now, in hundredths of a second
  read -r up rest </proc/uptime
  now=${up%.*}${up#*.}
}

pace() { # called after each piece: waits until the next one is due, and does not catch up after a pause
  [ "$rate" -gt 0 ] || return 0
  written=$((written + 1))
  clock
  due=$((began + written * piece_kib * 100 / (rate * 1024)))
  if [ $now -gt $((due + 100)) ]; then began=$now written=0; fi
  while [ $now -lt $due ]; do sleep 0.02; clock; done
}

random_bytes() { dd if=/dev/urandom of="$1" bs=${piece_kib}k count="$pieces" 2>/dev/null; }

copy() { # FROM PIECE TO PIECE: one piece over what is there
  dd if="$1" of="$3" bs=${piece_kib}k count=1 skip="$2" seek="$4" conv=notrunc 2>/dev/null
}

clock
began=$now written=0
case $name in
  idle)
    echo "$READY"
    trap - EXIT
    ;;
  random-writer) # random pieces get new random bytes
    random_bytes pages
    echo "$READY"
    while :; do
      copy /dev/urandom 0 pages $(((RANDOM * 32768 + RANDOM) % pieces))
      pace
    done
    ;;
  page-flipper) # every page goes A, B, A, B, ... with the same two contents
    random_bytes a
    random_bytes b
    cp a pages
    echo "$READY"
    while :; do
      for from in b a; do
        at=0
        while [ $at -lt $pieces ]; do
          copy $from $at pages $at
          pace
          at=$((at + 1))
        done
      done
    done
    ;;
  build) # text is read, objects are made of it, linked and packed, and the last build is deleted
    mkdir source new
    head -c "${mib}m" /proc/kallsyms >text
    at=0
    while [ $at -lt $((mib * 4)) ]; do
      dd if=text of="source/$at" bs=256k count=1 skip=$at 2>/dev/null
      at=$((at + 1))
    done
    rm text
    echo "$READY"
    build=0
    while :; do
      build=$((build + 1))
      for file in source/*; do
        object=new/${file#source/}
        { echo "build $build"; cat "$file"; } >"$object.i"
        dd if="$object.i" of="$object.o" bs=256k conv=swab 2>/dev/null
        rm "$object.i"
      done
      cat new/*.o >new/image
      gzip -1 new/image
      rm -rf old
      mv new old
      mkdir new
    done
    ;;
  redis)
    redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --save '' --maxmemory "${mib}mb" &
    while kill -0 $!; do
      if printf 'PING\r\nQUIT\r\n' | nc 127.0.0.1 6379 2>/dev/null | grep -q PONG; then
        echo "$READY"
        break
      fi
      sleep 0.05
    done
    wait
    ;;
esac
