package shell

import "strings"

// scripts are what TestCommands runs, by the name of the golden file.
var scripts = map[string][]string{
	"commands": {
		"list", "xl list", "xl -v list nobody", "xl", "create debian.cfg", "list", "list -v", "list -Zcn", "list debian", "list --json 1", "list -l debian", "list -l 0", "list nobody",
		"create debian.cfg", "create debian.cfg name=two memory=128 cpus=0-1 extra='console=hvc0 quiet'", "create -p -q debian.cfg name=three vif=['']",
		"create bad.cfg", "create -n debian.cfg memory=64 disk=['phy:x,xvda,w']", `create -n debian.cfg memory=64 'disk=["phy:x,xvda,w"]'`, "create nothing.cfg", "create", "create vmlinuz", "create big.cfg", "create debian.cfg vcpus=0 memroy=1",
		"list", "domid two", "domname 3", "domid nobody", "rename two deux", "rename deux 'a b'", "rename deux 7",
		"pause deux", "list deux", "unpause deux", "unpause deux", "pause", "pause a b",
		"vcpu-list", "vcpu-pin debian 0 1-2", "vcpu-pin debian all all,^0 -", "vcpu-pin debian 1 - 3", "vcpu-list debian", "vcpu-list --json three",
		"vcpu-pin debian 9 1", "vcpu-pin debian 0 7", "vcpu-pin debian 0 -", "vcpu-pin debian 0 x", "vcpu-pin debian 0",
		"sched-credit2", "sched-credit2 -d debian -w 512 -c50", "sched-credit2 --domain=debian", "sched-credit2 -d debian -w 0", "sched-credit2 -w 5", "sched-credit2 -d debian -w x", "sched-credit2 -d", "sched-credit2 --json -d 1",
		"uptime", "uptime -s debian", "uptime --json debian", "info", "info --json", "dmesg", "dmesg -c", "dmesg", "modules", "modules --json",
		"debug-keys q", "sysrq debian s", "sysrq debian ss", "trigger debian nmi", "trigger debian nmi 1", "trigger debian power 9", "trigger debian boom", "trigger debian",
		"create -q debian.cfg name=deaf memory=16", "reboot debian", "shutdown", "shutdown -a debian", "shutdown -w deaf", "reboot -F deaf", "shutdown -F debian", "shutdown -w deux", "destroy 0", "destroy three", "destroy three", "create -q debian.cfg", "shutdown -aww", "list",
		"help list", "help sched-credit2", "list --help", "help lst", "lst", "mem-set 0 5", "frobnicate", "exit", "ls", "xl halt", "list -x", "list --verbos", "list --json=1", "console", "console -t serial 0", "console -n x 0",
		"create -q debian.cfg", "reboot", "reboot -F", "host-reboot -F", "poweroff", "poweroff -t 5 --force", "poweroff --maxwait=86400", "poweroff -t 0", "poweroff -t 86401", "poweroff -t x", "poweroff now",
	},
	"resources": {
		"create -q debian.cfg maxmem=512 maxvcpus=8", "mem-set debian 128", "mem-set debian 300m", "mem-set debian 1g", "mem-max debian 1g", "mem-set debian 1048576k", "mem-set debian 0", "mem-set debian -5", "mem-set debian 12x", "mem-set debian 99999999999t", "mem-set nobody 5", "mem-set debian", "list debian",
		"vcpu-set debian 1", "vcpu-set debian 5", "vcpu-set -i debian 5", "vcpu-set debian 9", "vcpu-set debian 0", "vcpu-set debian x",
		"sched-credit2 -s", "sched-credit2 -s -p Pool-0", "sched-credit2 -p other", "sched-credit2 -s -r 500", "sched-credit2 -s -d debian",
		"dominfo debian", "dominfo --json debian", "dominfo nobody", "dominfo", "info xen_major nr_cpus", "info xen_majr", "info zzzzzzz", "info -n",
		"top -b -i 1", "top -bv -i 1", "xentop -b -i 2 -d 0.1", "top -i 1", "top -d 0", "top -i x",
		"config-update debian debian.cfg memory=64", "config-update debian bad.cfg", "config-update nobody debian.cfg", "save debian /x", "restore /x", "migrate debian host", "config-update 1 debian.cfg name=other kernel=local:vmlinuz", "config-update debian debian.cfg memory=x", "cd-insert debian xvdb x.iso", "cd-eject debian xvdb", "cd-eject nobody xvdb", "cd-insert debian", `create -q debian.cfg name=p 'pci=["00:06.0,permissive=1"]'`, `create -qn debian.cfg name=p 'pci=["00:06.0@5,permissive=1","name=nic"]'`, "cpupool-list", "vm-list", "sched-credit", "help migrate",
		"block-list debian", "block-attach debian file:a,xvda,w", "block-attach debian file:a,xvd,w", "block-attach debian", "block-detach debian xvda", "network-attach debian", "network-attach debian mac=1", "network-detach debian 0", "network-list debian", "pci-attach debian 00:06.0", "pci-attach debian 00:06", "pci-list debian",
	},
	"devices": {
		"create -q debian.cfg", "block-attach debian file:a,xvda,w", "block-attach debian phy:b xvdb r", "block-list debian", "block-list --json debian 0", "cd-insert debian block0 x.iso", "cd-insert --json debian block0 y.iso", "cd-eject debian xvdz", "cd-insert debian block0 local:x.iso", "block-list nobody", "network-attach debian mac=00:16:3e:00:00:01 bridge=br0", "network-attach debian", "network-list debian",
		"pci-attach debian 00:06.0", "pci-list debian", "network-detach debian network2", "network-detach --force debian network2", "network-list debian",
	},
	"xenstore": {
		"xenstore-ls", "xenstore ls -f /local", "xenstore-ls -p /tool", "xenstore-ls --json", "xenstore-ls /none", "xenstore-read /tool/x", "xenstore-read -p /tool/x /local/domain/0/name", "xenstore-read /none", "xenstore-read",
		"xenstore-write /a/b/c 1 /a/d 2", "xenstore-write /a", "xenstore-write /a 1 /b", "xenstore-list /a", "xenstore-list -p /a /tool", "xenstore-list --json /a", "xenstore-exists /a/b/c", "xenstore-exists /a/b/x", "xenstore-chmod /a/b n0 r1", "xenstore-chmod -r /a n1", "xenstore-chmod /a x1", "xenstore-ls -fp /a",
		"xenstore-rm /a/d", "xenstore-rm -t /a/b/c", "xenstore-rm /none", "xenstore-list /", "xenstore-watch -n 3 /local", "xenstore-watch -n x /local", "xenstore", "xenstore frob",
	},
	"certs": {
		"cert", "cert-list", "cert list --json", "cert list --authorized", "cert allow sha256:" + strings.Repeat("1a", 32) + " anna", "cert-allow -r read-only sha256:" + strings.Repeat("2b", 32) + " graphs", "cert list", "cert list --authorized", "cert list --json",
		"cert allow sha256:" + strings.Repeat("2b", 32) + " bob", "cert allow sha256:" + strings.Repeat("3c", 32) + " anna", "cert allow --role=root sha256:" + strings.Repeat("3c", 32) + " bob", "cert allow anna.crt bob", "cert allow sha256:12 bob", "cert allow sha256:" + strings.Repeat("3c", 32) + " 'a b'", "cert allow x",
		"cert revoke nobody", "cert revoke graphs", "cert list", "cert init", "cert show", "cert trust far sha256:" + strings.Repeat("1a", 32), "cert distrust far", "cert frob", "help cert-allow",
	},
	"upload": {
		"create -q debian.cfg kernel=local:vmlinuz", "create -q debian.cfg name=two kernel=local:vmlinuz ramdisk=local:initrd", "create -q debian.cfg name=three ramdisk=local:empty", "list -l two",
		`create -q debian.cfg name=mods 'ramdisk=["local:initrd a b","vmlinuz"]'`, "list -l mods", `create -q debian.cfg name=none 'ramdisk=["local:none a"]'`,
		"create -q debian.cfg name=four kernel=local:none", "create -q debian.cfg name=four kernel=local:vmlinuz ramdisk=local:none", "create -q debian.cfg name=four kernel=local:dir", "create -q debian.cfg name=four kernel=local:huge", "create -q debian.cfg kernel=local:vmlinuz",
		"create -qn debian.cfg kernel=local:vmlinuz", "config-update debian debian.cfg kernel=local:initrd",
	},
	// The command lines of the howtos, old ones too.
	"howtos": {
		"xl dmesg", "xl info host", "xl list", "xl create /usr/pkg/etc/xen/foo", "xl list", "xl shutdown domU-id", "xl list", "xl console domU-id", "xl create -c /usr/pkg/etc/xen/bar",
		"xm dmesg", "xm info host", "xm create foo", "xm list", "xm shutdown domU-id", "xm destroy solaris", "xm shutdown -R", "xl shutdown -H", "xl create -F -e -q foo -n",
		"create -n grub.cfg", "create -q grub.cfg", "list -l grub",
		`xl create -qn foo 'disk=["file:/n0/xen/foo-wd0,0x0,w","phy:/dev/vnd0d,6:cdrom,r"]' 'vif=["mac=aa:00:00:d1:00:09,bridge=bridge0,rate=1MB/s@20ms",""]'`,
	},
}
