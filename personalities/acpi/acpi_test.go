package acpi

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"nidus/mm"
)

// guest reads the tables as a guest would: from the RSDP, by addresses only.
type guest struct {
	t    *testing.T
	base uint64
	mem  []byte
}

func (g guest) at(addr uint64, n int) []byte {
	g.t.Helper()
	if addr < g.base || addr-g.base > uint64(len(g.mem)-n) {
		g.t.Fatalf("%d bytes at %#x are outside the tables", n, addr)
	}
	return g.mem[addr-g.base:][:n]
}

func (g guest) table(addr uint64, sig string) []byte {
	g.t.Helper()
	h := g.at(addr, 36)
	if string(h[:4]) != sig {
		g.t.Fatalf("%q at %#x, want %s", h[:4], addr, sig)
	}
	b := g.at(addr, int(le.Uint32(h[4:])))
	if sum(b) != 0 {
		g.t.Errorf("%s does not sum to zero", sig)
	}
	if string(h[10:16]) != "NIDUS " {
		g.t.Errorf("%s: OEM ID %q", sig, h[10:16])
	}
	return b
}

func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// readCPUs walks from the RSDP to the MADT and checks all on the way.
func readCPUs(t *testing.T, tb *Tables) []CPU {
	t.Helper()
	g := guest{t, uint64(tb.Base), tb.Data}
	r := g.at(uint64(tb.RSDP), 36)
	if string(r[:8]) != "RSD PTR " || sum(r[:20]) != 0 || sum(r) != 0 || r[15] != 2 || le.Uint32(r[20:]) != 36 {
		t.Fatalf("RSDP % x", r)
	}
	if uint64(tb.RSDP)%16 != 0 {
		t.Errorf("RSDP at %#x", tb.RSDP)
	}
	x := g.table(le.Uint64(r[24:]), "XSDT")
	if len(x) != 36+16 {
		t.Fatalf("XSDT of %d bytes", len(x))
	}

	f := g.table(le.Uint64(x[36:]), "FACP")
	if len(f) != 268 || f[8] != 5 {
		t.Errorf("FADT of %d bytes, revision %d", len(f), f[8])
	}
	// ACPI 5.2.9, Table 5-34: flags bit 20 HW_REDUCED_ACPI, bit 0 WBINVD.
	if flags := le.Uint32(f[112:]); flags&(1<<20) == 0 || flags&1 == 0 {
		t.Errorf("FADT flags %#x", flags)
	}
	// IAPC_BOOT_ARCH: no legacy devices, no 8042, no VGA, no CMOS RTC.
	if arch := le.Uint16(f[109:]); arch != 1<<2|1<<5 {
		t.Errorf("IAPC_BOOT_ARCH %#x", arch)
	}
	if le.Uint64(f[140:]) != uint64(le.Uint32(f[40:])) {
		t.Error("DSDT and X_DSDT differ")
	}
	d := g.table(le.Uint64(f[140:]), "DSDT")
	if d[8] < 2 || d[36] != 0x10 || int(d[37]) != len(d)-37 {
		t.Errorf("DSDT % x", d[36:])
	}

	m := g.table(le.Uint64(x[44:]), "APIC")
	if le.Uint32(m[36:]) != 0xfee00000 || le.Uint32(m[40:]) != 0 {
		t.Errorf("MADT % x", m[36:44])
	}
	var cpus []CPU
	for e := m[44:]; len(e) > 0; e = e[e[1]:] {
		switch {
		case e[0] == 0 && e[1] == 8:
			cpus = append(cpus, CPU{uint32(e[2]), uint32(e[3]), le.Uint32(e[4:])&1 != 0})
		case e[0] == 9 && e[1] == 16:
			cpus = append(cpus, CPU{le.Uint32(e[12:]), le.Uint32(e[4:]), le.Uint32(e[8:])&1 != 0})
		default:
			t.Fatalf("MADT entry % x", e[:2])
		}
	}
	return cpus
}

func TestBuild(t *testing.T) {
	many := make([]CPU, 300)
	for i := range many {
		many[i] = CPU{uint32(i), uint32(2 * i), i%3 != 0}
	}
	for _, cpus := range [][]CPU{
		{{0, 0, true}},
		{{0, 0, true}, {1, 2, true}, {2, 4, false}},
		{{0, 254, true}, {1, 255, true}, {255, 3, true}, {254, 5, true}, {7, 1 << 31, false}},
		many,
	} {
		tb, err := Build(Config{Base: 0xe0000, Size: 0x20000, CPUs: cpus})
		if err != nil {
			t.Fatal(err)
		}
		got := readCPUs(t, tb)
		if len(got) != len(cpus) {
			t.Fatalf("%d processors, want %d", len(got), len(cpus))
		}
		for i := range got {
			if got[i] != cpus[i] {
				t.Errorf("processor %d: %+v, want %+v", i, got[i], cpus[i])
			}
		}
	}
}

// TestX2APICEntries checks that only who needs one gets an x2APIC entry: a
// guest without x2APIC reads the others.
func TestX2APICEntries(t *testing.T) {
	tb, err := Build(Config{Base: 0xe0000, Size: 0x1000, CPUs: []CPU{{0, 254, true}, {1, 255, true}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{0, 8, 0, 254, 1, 0, 0, 0, 9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}
	if !bytes.Contains(tb.Data, want) {
		t.Error("MADT lacks the two entries")
	}
}

func TestBuildErrors(t *testing.T) {
	one := []CPU{{0, 0, true}}
	for name, c := range map[string]Config{
		"no base":   {Size: 0x1000, CPUs: one},
		"unaligned": {Base: 0xe0008, Size: 0x1000, CPUs: one},
		"no CPU":    {Base: 0xe0000, Size: 0x1000},
		"many CPUs": {Base: 0xe0000, Size: 1 << 20, CPUs: make([]CPU, MaxCPUs+1)},
		"no room":   {Base: 0xe0000, Size: 400, CPUs: one},
		"high":      {Base: 0xfffff000, Size: 0x1001, CPUs: one},
		"same APIC": {Base: 0xe0000, Size: 0x1000, CPUs: []CPU{{0, 1, true}, {1, 1, true}}},
		"same UID":  {Base: 0xe0000, Size: 0x1000, CPUs: []CPU{{1, 0, true}, {1, 1, true}}},
		"wraps":     {Base: mm.GuestPhys(^uint64(15)), Size: 0x1000, CPUs: one},
	} {
		if tb, err := Build(c); !errors.Is(err, ErrConfig) || tb != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBuildRandom builds for random processors; whatever is accepted must read
// back the same.
func TestBuildRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		cpus := make([]CPU, 1+r.IntN(40))
		seen, twice := map[uint64]bool{}, false
		for i := range cpus {
			cpus[i] = CPU{r.Uint32N(600), r.Uint32N(600), r.IntN(2) == 0}
			for _, k := range []uint64{uint64(cpus[i].UID), 1<<40 | uint64(cpus[i].APICID)} {
				twice = twice || seen[k]
				seen[k] = true
			}
		}
		tb, err := Build(Config{Base: 0xe0000, Size: 0x4000, CPUs: cpus})
		if (err != nil) != twice {
			t.Fatalf("twice %v, error %v", twice, err)
		}
		if err != nil {
			continue
		}
		for i, c := range readCPUs(t, tb) {
			if c != cpus[i] {
				t.Fatalf("processor %d: %+v, want %+v", i, c, cpus[i])
			}
		}
	}
}

// TestDump writes the tables for iasl, if NIDUS_ACPI_DUMP names a folder:
// iasl -d FOLDER/*.aml
func TestDump(t *testing.T) {
	dir := os.Getenv("NIDUS_ACPI_DUMP")
	if dir == "" {
		t.Skip("NIDUS_ACPI_DUMP is not set")
	}
	tb, err := Build(Config{Base: 0xe0000, Size: 0x1000, CPUs: []CPU{{0, 0, true}, {1, 300, true}}})
	if err != nil {
		t.Fatal(err)
	}
	g := guest{t, uint64(tb.Base), tb.Data}
	x := g.table(le.Uint64(tb.Data[24:]), "XSDT")
	f := g.table(le.Uint64(x[36:]), "FACP")
	for name, b := range map[string][]byte{
		"xsdt": x, "facp": f, "apic": g.table(le.Uint64(x[44:]), "APIC"), "dsdt": g.table(le.Uint64(f[140:]), "DSDT"),
	} {
		if err := os.WriteFile(dir+"/"+name+".aml", b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
