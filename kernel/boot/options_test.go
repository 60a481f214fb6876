package boot

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	gib := uint64(1 << 30)
	for _, c := range []struct {
		line string
		set  func(o *Options)
	}{
		{"", func(o *Options) {}},
		{"console=com2", func(o *Options) { o.Console = []string{"com2"} }},
		{"/boot/nidus console=none", func(o *Options) { o.Console = []string{"none"} }},
		{"nidus.elf maxcpus=2", func(o *Options) { o.MaxCPUs = 2 }},
		{"build=1/nidus maxcpus=2", func(o *Options) { o.Unknown = []string{"build=1/nidus"}; o.MaxCPUs = 2 }},
		{"maxcpus=2 /boot/nidus", func(o *Options) { o.MaxCPUs = 2; o.Unknown = []string{"/boot/nidus"} }},
		{"com1=115200,8n1", func(o *Options) {}},
		{"com1=9600,7e2,0x2e8,10", func(o *Options) { o.Com[0] = Serial{9600, 7, 'e', 2, 0x2e8, 10} }},
		{"com2=auto", func(o *Options) { o.Com[1].Baud = 0 }},
		{"com2=,,,0", func(o *Options) { o.Com[1].IRQ = 0 }},
		{"com1=38400/115200", func(o *Options) { o.Com[0].Baud = 38400 }},
		{"loglvl=all", func(o *Options) { o.LogLevel = LogLevels{LogDebug, LogDebug} }},
		{"guest_loglvl=none/debug", func(o *Options) { o.GuestLogLevel = LogLevels{LogNone, LogDebug} }},
		{"guest-loglvl=all/debug", func(o *Options) { o.GuestLogLevel = LogLevels{LogDebug, LogDebug} }},
		{"dom0_mem=512M,max:1G", func(o *Options) {
			o.Dom0Mem.Size = MemAmount{Set: true, Bytes: gib / 2}
			o.Dom0Mem.Max = MemAmount{Set: true, Bytes: gib}
		}},
		{"dom0_mem=min:1048576,-2G", func(o *Options) {
			o.Dom0Mem.Min = MemAmount{Set: true, Bytes: gib}
			o.Dom0Mem.Size = MemAmount{Set: true, Less: true, Bytes: 2 * gib}
		}},
		{"dom0_mem=1G+10%", func(o *Options) { o.Dom0Mem.Size = MemAmount{Set: true, Bytes: gib, Percent: 10} }},
		{"dom0_mem=max:50%", func(o *Options) { o.Dom0Mem.Max = MemAmount{Set: true, Percent: 50} }},
		{"data=vda3", func(o *Options) { o.Data = "vda3" }},
		{"data=/dev/vdb", func(o *Options) { o.Data = "vdb" }},
		{"noreboot sync_console nosmp pv-nosmap", func(o *Options) {
			o.NoReboot, o.SyncConsole, o.NoSMP, o.PVNoSMAP = true, true, true, true
		}},
		{"noreboot no-noreboot sync_console=1 sync-console=off", func(o *Options) {}},
		{"no-pv-nosmap=no", func(o *Options) { o.PVNoSMAP = true }},
		{"smep smap=0", func(o *Options) { o.SMEP, o.SMAP = SwitchOn, SwitchOff }},
		{"no-smep smap=hvm", func(o *Options) { o.SMEP, o.SMAP = SwitchOff, SwitchHVM }},
		{"xpti=on", func(o *Options) { o.XPTI = SwitchOn }},
		{"xpti=no xpti=dom0=on", func(o *Options) { o.XPTI = SwitchOff }},
		{"xpti=dom0=off,domu=on", func(o *Options) { o.XPTI = SwitchOn }},
		{"xpti=1,domu=0", func(o *Options) { o.XPTI = SwitchOff }},
		{"pv-l1tf=domu=off", func(o *Options) { o.PVL1TF = SwitchOff }},
		{"pcid=off", func(o *Options) { o.PCID = PCIDOff }},
		{"pcid=off pcid=1", func(o *Options) {}},
		{"pcid=xpti", func(o *Options) { o.PCID = PCIDXPTI }},
		{"pcid=xpti=yes", func(o *Options) { o.PCID = PCIDXPTI }},
		{"pcid=xpti=0", func(o *Options) { o.PCID = PCIDNotXPTI }},
		{"pcid=no-xpti", func(o *Options) { o.PCID = PCIDNotXPTI }},
		{"xpti=off xpti=default", func(o *Options) {}},
		{"conswitch=bx", func(o *Options) { o.SwitchKey, o.StayOnShell = 2, true }},
		{"conswitch=x", func(o *Options) { o.SwitchKey = 24 }},
		{"conswitch=`", func(o *Options) { o.SwitchKey = 0 }},
		{"tsc=unstable clocksource=hpet", func(o *Options) { o.TSC, o.ClockSource = "unstable", "hpet" }},
		{`xendomains="a b" x`, func(o *Options) { o.XenDomains = []string{"a", "b"}; o.Unknown = []string{"x"} }},
		{"xendomains_stop_maxwait=5", func(o *Options) { o.StopMaxWait = 5 }},
		{`xendomains="a b`, func(o *Options) { o.XenDomains = []string{"a", "b"} }},
		{"rpc=tls:5417", func(o *Options) { o.RPCPort = 5417 }},
		{"uplink=eth1 ip=off nat=off", func(o *Options) { o.Net = NetOptions{Uplink: "eth1", IP: IPOff} }},
		{"ip=10.0.0.2/8,gw=10.1.1.1,dns=10.0.0.1,dns=10.0.0.9", func(o *Options) {
			o.Net.IP, o.Net.Address, o.Net.Gateway = IPStatic, netip.MustParsePrefix("10.0.0.2/8"), netip.MustParseAddr("10.1.1.1")
			o.Net.DNS = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.9")}
		}},
		{"ip=10.0.0.2/8 ip=dhcp nat=192.168.7.254/24", func(o *Options) { o.Net.NAT = netip.MustParsePrefix("192.168.7.254/24") }},
		{"nat-allow=5417,9100 nat-forward=tcp:80:web:8080,tcp:81:10.77.0.9:80", func(o *Options) {
			o.Net.NATAllow = []uint16{5417, 9100}
			o.Net.NATForward = []Forward{{80, "web", 8080}, {81, "10.77.0.9", 80}}
		}},
		{"ntp=off ntp=time.example,10.0.0.1 metrics=9100 speed=5001", func(o *Options) {
			o.Net.NTP, o.Net.MetricsPort, o.Net.SpeedPort = []string{"time.example", "10.0.0.1"}, 9100, 5001
		}},
		{"ntp=off", func(o *Options) { o.Net.NoNTP = true }},
		{"maxcpus=4 foo bar=1 -- maxcpus=8 quiet", func(o *Options) {
			o.MaxCPUs = 4
			o.Unknown = []string{"foo", "bar=1"}
			o.Dom0 = "maxcpus=8 quiet"
		}},
		{"-- quiet", func(o *Options) { o.Dom0 = "quiet" }},
		{"foo --", func(o *Options) { o.Unknown = []string{"foo"} }},
	} {
		want := DefaultOptions()
		c.set(want)
		if got := ParseOptions(c.line); !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %+v\nwant %+v", c.line, *got, *want)
		}
	}
}

// TestOptionProblems asserts that a bad value changes nothing and is reported.
func TestOptionProblems(t *testing.T) {
	for _, w := range []string{
		"console=", "console=com3", "console", "com1=", "com1=fast", "com1=115200,9n1", "com1=115200,8x1",
		"com1=115200,8n", "com1=115200,8n1,0", "com1=115200,8n1,0x10000", "com1=115200,8n1,0x3f8,256",
		"com1=115200,8n1,0x3f8,4,1", "com1=115200/9600", "com2=0", "loglvl=", "loglvl=loud", "loglvl=all/",
		"guest_loglvl=none/x", "dom0_mem=", "dom0_mem=1Q", "dom0_mem=min:", "dom0_mem=101%", "dom0_mem=-",
		"dom0_mem=1G,x", "dom0_mem=99999999999T", "dom0_mem=1+%", "maxcpus=0", "maxcpus=-1", "maxcpus=x",
		"maxcpus=4097", "noreboot=maybe", "noreboot=", "smep=2", "xpti", "xpti=", "pcid", "pcid=", "pcid=2", "pcid=xpti=", "pcid=xpti=on=1", "pcid=dom0=1", "pcid=on=1", "pv-l1tf=x", "xpti=2", "xpti=on,", "xpti=domu", "xpti=domu=", "xpti=domv=on", "xpti=on,dom0=x", "no-smap=hvm", "tsc=", "tsc=fast",
		"clocksource=sundial", "rpc", "rpc=", "rpc=tls", "rpc=tls:", "rpc=tls:0", "rpc=tls:65536", "rpc=tcp:1", "rpc=tls:x", "conswitch=",
		"uplink=", "uplink=a/b", "uplink=abcdefghijklmnop", "ip=", "ip=on", "ip=10.0.0.2", "ip=10.0.0.2/0", "ip=10.0.0.2/33", "ip=::1/64", "ip=224.0.0.1/4", "ip=0.0.0.0/8",
		"ip=10.0.0.2/24,gw=10.0.1.1", "ip=10.0.0.2/24,dns=", "ip=10.0.0.2/24,mtu=9", "ip=10.0.0.2/24,dns=10.0.0.1,dns=10.0.0.1,dns=10.0.0.1,dns=10.0.0.1,dns=10.0.0.1", "ip=dhcp,dns=10.0.0.1",
		"nat=", "nat=10.0.0.0/24", "nat=10.0.0.1/30", "nat=10.0.0.1/7", "nat-allow=", "nat-allow=0", "nat-allow=1,", "nat-allow=65536", "nat-forward=80", "nat-forward=udp:80:a:80", "nat-forward=tcp:0:a:80",
		"nat-forward=tcp:80::80", "nat-forward=tcp:80:a;b:80", "nat-forward=tcp:80:a:", "ntp=", "ntp=a/b", "ntp=a,", "metrics=0", "speed=0", "speed=70000", "metrics=65536", "metrics=x", "conswitch=1", "conswitch=ab", "conswitch=axx",
	} {
		got := ParseOptions(w)
		want := DefaultOptions()
		if w == "com1=" { // all parts empty: nothing to change, nothing wrong
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q: %+v", w, *got)
			}
			continue
		}
		if len(got.Problems) != 1 || !strings.Contains(got.Problems[0], w) {
			t.Errorf("%q: problems %q", w, got.Problems)
		}
		got.Problems = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q changed something: %+v", w, *got)
		}
	}
}

func TestMemAmount(t *testing.T) {
	const total = 1000 << 20
	for _, c := range []struct {
		m    MemAmount
		want uint64
	}{
		{MemAmount{Bytes: 1 << 20}, 1 << 20},
		{MemAmount{Bytes: 2000 << 20}, total},
		{MemAmount{Less: true, Bytes: 200 << 20}, 800 << 20},
		{MemAmount{Less: true, Bytes: 2000 << 20}, 0},
		{MemAmount{Percent: 10}, 100 << 20},
		{MemAmount{Bytes: 1 << 20, Percent: 10}, 101 << 20},
		{MemAmount{Bytes: 999 << 20, Percent: 100}, total},
		{MemAmount{Bytes: math.MaxUint64, Percent: 255}, total},
	} {
		if got := c.m.Of(total); got != c.want {
			t.Errorf("%+v: %d, want %d", c.m, got, c.want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]uint64{
		"0": 0, "1": 1 << 10, "1b": 1, "1B": 1, "2k": 2 << 10, "3M": 3 << 20, "4g": 4 << 30, "5T": 5 << 40,
		"0x10M": 16 << 20, "0xb": 11 << 10,
	} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "M", "1MM", "-1", "1.5G", "18446744073709551615", "16777216T"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q: %d, want an error", s, got)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add(`/boot/nidus console=com1,vga com1=115200,8n1,0x3f8,4 loglvl=all guest_loglvl=none/debug`)
	f.Add(`dom0_mem=1G+10%,min:512M,max:-1G maxcpus=4 noreboot sync_console conswitch=ax xendomains="a b"`)
	f.Add(`no-smep smap=hvm pv-nosmap=0 tsc=stable:socket clocksource=acpi foo -- quiet`)
	f.Add(`b.etc" -- a="`) // a path only without what is dom0's
	f.Fuzz(func(t *testing.T, line string) {
		o := ParseOptions(line)
		words := len(SplitWords(line))
		if len(o.Unknown)+len(o.Problems) > words {
			t.Fatalf("%d unknown and %d problems of %d words", len(o.Unknown), len(o.Problems), words)
		}
		if o.SwitchKey > 26 || o.MaxCPUs < 0 || o.MaxCPUs > 4096 || len(o.Console) == 0 {
			t.Fatalf("out of bounds: %+v", *o)
		}
		for _, s := range o.Com {
			if s.DataBits < 5 || s.DataBits > 8 || s.StopBits < 1 || s.StopBits > 2 || s.IOBase < 0x100 || s.IOBase > 0xfff8 || s.Baud > 4_000_000 {
				t.Fatalf("serial %+v", s)
			}
		}
		if l := o.GuestLogLevel; l.Always > l.Limited || l.Limited > LogDebug {
			t.Fatalf("levels %+v", l)
		}
		for _, m := range []MemAmount{o.Dom0Mem.Size, o.Dom0Mem.Min, o.Dom0Mem.Max} {
			if m.Of(1<<30) > 1<<30 || m.Percent > 100 {
				t.Fatalf("amount %+v", m)
			}
		}
		// Reading is independent of the image's path and of a last blank.
		own, _ := cutDom0(line)
		if w := SplitWords(own); len(w) > 0 && !isImagePath(w[0]) {
			if p := ParseOptions("/boot/nidus " + line); !reflect.DeepEqual(o, p) {
				t.Fatalf("a path in front changes the result:\n%+v\n%+v", *o, *p)
			}
		}
	})
}

func TestDom0MemLimit(t *testing.T) {
	const mib = 1 << 20
	for line, want := range map[string]uint64{
		"": 250, "dom0_mem=100M": 100, "dom0_mem=max:200M": 200, "dom0_mem=max:300M": 250, "dom0_mem=min:300M": 300,
		"dom0_mem=100M,max:80M": 80, "dom0_mem=100M,min:120M,max:1G": 120, "dom0_mem=-400M": 600, "dom0_mem=50%": 500,
		"dom0_mem=1M": 64, "dom0_mem=max:0": 64, "dom0_mem=99G": 1000, "dom0_mem=-99G": 64, "dom0_mem=min:500M,max:200M": 200,
	} {
		if got := ParseOptions(line).Dom0Mem.Limit(1000*mib, 250*mib, 64*mib); got != want*mib {
			t.Errorf("%s: %d MiB, want %d", line, got/mib, want)
		}
	}
}
