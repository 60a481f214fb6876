#!/bin/sh
# The guests' init. Regressions and benchmarks wait for the lines in capitals.
export PATH=/bin HOME=/root PS1='guest# '
mount -t proc proc /proc
up=$(cut -d' ' -f1 /proc/uptime)
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
echo "NIDUS-GUEST-UP cpus=$(nproc) mem=$(sed -n 's/MemTotal: *\([0-9]*\) .*/\1/p' /proc/meminfo) uptime=$up"
for word in $(cat /proc/cmdline); do
	case $word in
	test=*) test=${word#test=} ;;
	grants=*) grants=$(echo ${word#grants=} | tr , ' ') ;;
	root=/dev/*) root=${word#root=} ;;
	peer=*) peer=${word#peer=} ;; # an address to send to
	forks=*) forks=${word#forks=} ;; # processes to make
	net=*) net=${word#net=} ;; # eth0's address, or 0, or dhcp
	esac
done
network() { # gives eth0 the address in $net
	until ip link set eth0 up 2>/dev/null; do sleep 1; done
	case $net in
	dhcp) udhcpc -i eth0 -n -q -s /etc/dhcp >/dev/null 2>&1; net=$(ip -4 addr show dev eth0 | sed -n 's/.*inet \([^ ]*\) .*/\1/p') ;;
	*) ip addr add $net dev eth0 ;;
	esac
	[ -z "$test" ] || echo "NIDUS-GUEST-NET $(cat /sys/class/net/eth0/address) $net"
}
if [ "$net" ]; then
	for m in /lib/net/*.ko; do insmod $m; done
	ip link set lo up
	if [ -z "$test" ]; then network & # a person doesn't wait for it
	elif [ $net != 0 ]; then network; fi
fi
if [ "$root" ]; then # go on there
	for m in /lib/disk/*.ko; do insmod $m; done
	until [ -b $root ]; do sleep 1; done
	mount -t ext4 $root /mnt && exec switch_root /mnt /sbin/init
	echo "NIDUS-GUEST-NO-ROOT $root"
fi
case $test in
up) ;; # up and down again
bench)
	for m in /lib/*.ko; do insmod $m; done
	bench all
	for n in 1 2 3; do
		t=$(cut -d' ' -f1 /proc/uptime)
		i=0
		while [ $i -lt 200000 ]; do i=$((i + 1)); done
		echo "$t $(cut -d' ' -f1 /proc/uptime)"
	done | awk '{print $2 - $1}' | sort -n | sed -n '2s/.*/BENCH shell loop of 200,000 s & 0 3/p' ;;
grants) # share pages with another guest
	for m in /lib/xen-gnt*.ko; do insmod $m; done
	bench grants $grants ;;
asks) # talk to the store a lot
	bench asks 50000
	sleep 1000 ;;
avx) # keep different things in the AVX registers
	if grep -q '^flags.* avx ' /proc/cpuinfo; then bench avx 5s; else echo "AVX failed: the kernel has none"; fi
	echo "NIDUS-GUEST-TAINTED $(cat /proc/sys/kernel/tainted)"
	sleep 1000 ;;
serve) bench serve 5001 ;; # be measured
tcp) # measure TCP: address and port, whose they are, MiB
	bench tcp $(echo $peer | tr , ' ') ;;
loopback) # measure TCP with oneself
	ip link set lo up
	bench serve 5001 >/served &
	until grep -q SERVES /served; do sleep 1; done
	bench tcp $(echo $peer | tr , ' ') ;;
disk) # measure /dev/xvda
	for m in /lib/disk/*.ko; do insmod $m; done
	until [ -b /dev/xvda ]; do sleep 1; done
	bench disk /dev/xvda disk ;;
memory) # measure a disk of the kernel's own memory
	insmod /lib/memory/*.ko rd_nr=1 rd_size=65536
	until [ -b /dev/ram0 ]; do sleep 1; done
	bench disk /dev/ram0 "disk of its own memory" ;;
fronts) # be the frontend of all disks, a hostile one
	for m in /lib/*.ko; do insmod $m; done
	bench fronts ;;
busy) # say each second that we live; the loops hold all CPUs
	for i in $(seq $(nproc)); do (while :; do :; done) & done
	while :; do echo "NIDUS-GUEST-ALIVE $(cut -d' ' -f1 /proc/uptime)"; sleep 1; done ;;
store) # be in a transaction, then tick
	bench store
	n=0
	while :; do n=$((n + 1)); echo "NIDUS-GUEST-TICK $n"; sleep 1; done ;;
tick) # the same with idle CPUs
	n=0
	while :; do n=$((n + 1)); echo "NIDUS-GUEST-TICK $n"; sleep 1; done ;;
soak) # use two disks and the network for ever; a tick says that what was written was read again
	for m in /lib/disk/*.ko; do insmod $m; done
	until [ -b /dev/xvda ] && [ -b /dev/xvdb ]; do sleep 1; done
	mount -t ext4 /dev/xvdb /mnt
	(while :; do nc -l -p 5000 >/dev/null; done) &
	n=0 sent=0
	while :; do
		n=$((n + 1))
		at=$((n % 63 * 4))
		dd if=/dev/urandom of=/tmp/x bs=64k count=4 2>/dev/null
		dd if=/tmp/x of=/dev/xvda bs=64k seek=$at 2>/dev/null && cp /tmp/x /mnt/x && sync
		echo 3 >/proc/sys/vm/drop_caches
		dd if=/dev/xvda bs=64k skip=$at count=4 2>/dev/null | cmp - /tmp/x && cmp /mnt/x /tmp/x || break
		timeout 3 nc $peer 5000 </tmp/x 2>/dev/null && sent=$((sent + 1)) # unless it was just killed
		echo "NIDUS-GUEST-TICK $n sent $sent"
		sleep 2 # others want to boot
	done
	echo "NIDUS-GUEST-DISK-BAD $n" ;;
deaf) # ticks, and does nothing when its host asks it to shut down
	printf '#!/bin/sh\necho NIDUS-GUEST-DEAF >/dev/console\n' >/sbin/poweroff
	n=0
	while :; do n=$((n + 1)); echo "NIDUS-GUEST-TICK $n"; sleep 1; done ;;
errors) # disks that fail: xvda in two places, xvdb after a flush, xvdc when it is full
	for m in /lib/disk/*.ko; do insmod $m; done
	until [ -b /dev/xvda ] && [ -b /dev/xvdb ] && [ -b /dev/xvdc ]; do sleep 1; done
	try() {
		what=$1
		shift
		dd bs=4096 "$@" 2>/dev/null && echo "NIDUS-DISK $what ok" || echo "NIDUS-DISK $what error"
	}
	get() { try "$1 read $2" if=/dev/$1 of=/dev/null skip=$2 count=1 iflag=direct; }
	put() { try "$1 write $2" if=/dev/zero of=/dev/$1 seek=$2 count=${3:-1} oflag=direct; }
	for i in 1 2 3; do get xvda 25; put xvda 50; get xvda 24; put xvda 51; done
	put xvdb 0; get xvdb 0; sync /dev/xvdb
	for i in 1 2 3; do get xvdb 0; put xvdb 9; done
	for i in 1 2; do put xvdc 0 2000; done
	get xvdc 0; get xvda 24
	echo NIDUS-DISK-END ;;
cut) # logs in a file and on a disk, until the power goes
	for m in /lib/disk/*.ko; do insmod $m; done
	until [ -b /dev/xvda ] && [ -b /dev/xvdb ]; do sleep 1; done
	mount -t ext4 /dev/xvda /mnt
	echo "NIDUS-CUT-UP $(cat /sys/block/xvda/queue/logical_block_size) $(cat /sys/block/xvdb/queue/logical_block_size) $(cat /sys/block/xvda/queue/write_cache)"
	bench log F /mnt/log &
	bench log D /dev/xvdb
	wait ;;
pull) # disks with a bad sector at 1 MiB, which go
	for m in /lib/disk/*.ko; do insmod $m; done
	disks="xvda xvdb xvdc"
	for d in $disks; do
		until [ -b /dev/$d ]; do sleep 1; done
		good=0 bad=0
		for i in $(seq 10); do
			for at in 0 256; do # 4 KiB each
				if dd if=/dev/$d of=/dev/null bs=4096 skip=$at count=1 iflag=direct; then good=$((good + 1)); else bad=$((bad + 1)); fi
				if dd if=/dev/zero of=/dev/$d bs=4096 seek=$at count=1 oflag=direct; then good=$((good + 1)); else bad=$((bad + 1)); fi
			done 2>/dev/null
		done
		# Many requests at once, of which one fails.
		dd if=/dev/$d of=/dev/null bs=65536 count=64 2>/dev/null && good=0
		dd if=/dev/$d of=/dev/null bs=65536 skip=32 count=64 2>/dev/null && good=$((good + 1))
		echo "NIDUS-ERRORS $d $(cat /sys/block/$d/queue/logical_block_size) good=$good bad=$bad"
	done
	for d in $disks; do
		echo "NIDUS-PULL $d"
		while dd if=/dev/$d of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; do :; done
		dd if=/dev/zero of=/dev/$d bs=4096 count=1 oflag=direct 2>/dev/null || echo "NIDUS-GONE $d"
	done ;;
install) # what the CD in /dev/xvdc says
	for m in /lib/disk/*.ko; do insmod $m; done
	until [ -b /dev/xvda ] && [ -b /dev/xvdc ]; do sleep 1; done
	mkdir /cd
	mount -t iso9660 -o ro /dev/xvdc /cd && sh /cd/install.sh ;;
forks) # as many processes as the word forks= says, one after another and many at once
	n=0
	while [ $n -lt $forks ]; do
		(exit 0)
		for i in 1 2 3 4 5 6 7 8 9; do : & done
		wait
		n=$((n + 10))
		[ $((n % 1000)) != 0 ] || echo "$n processes after $(cut -d' ' -f1 /proc/uptime) s"
	done
	echo "NIDUS-GUEST-FORKS $n" ;;
panic) echo c >/proc/sysrq-trigger ;;
*)
	echo "Nidus runs this $(uname -sr). \"poweroff -f\" ends the domain; Ctrl-A three times goes to Nidus's shell."
	cd /root
	setsid cttyhack sh ;;
esac
echo "NIDUS-GUEST-END uptime=$(cut -d' ' -f1 /proc/uptime)"
poweroff -f
