package acpi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
)

var errHole = errors.New("no memory here")

// phys is low memory of 1 MiB and the tables at tableBase behind it.
type phys []byte

const tableBase = 0x100000

func (p phys) ReadPhys(addr uint64, b []byte) error {
	if addr > uint64(len(p)) || uint64(len(b)) > uint64(len(p))-addr {
		return errHole
	}
	copy(b, p[addr:])
	return nil
}

func u16(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// fix makes b's bytes add up to 0 by the byte at i.
func fix(b []byte, i int) []byte {
	b[i] -= sum(b)
	return b
}

// table builds a table with a right checksum.
func table(sig string, rev uint8, body []byte) []byte {
	b := cat([]byte(sig), u32(uint32(headerSize+len(body))), []byte{rev, 0}, []byte("NIDUS "),
		[]byte("TESTTABL"), u32(7), []byte("TEST"), u32(1), body)
	return fix(b, 9)
}

// machine lays tables out behind each other and builds RSDT, XSDT and RSDP.
type machine struct {
	mem   phys
	next  int
	addrs []uint64
}

func newMachine() *machine {
	return &machine{mem: make(phys, tableBase+0x4000), next: tableBase}
}

// put places bytes and returns their address.
func (m *machine) put(b []byte) uint64 {
	a := m.next
	copy(m.mem[a:], b)
	m.next += (len(b) + 15) &^ 15
	return uint64(a)
}

// add places tables that the root table names.
func (m *machine) add(tables ...[]byte) *machine {
	for _, t := range tables {
		m.addrs = append(m.addrs, m.put(t))
	}
	return m
}

func rsdp(rev uint8, rsdt uint32, xsdt uint64) []byte {
	b := cat([]byte("RSD PTR "), []byte{0}, []byte("NIDUS "), []byte{rev}, u32(rsdt))
	fix(b, 8)
	if rev >= 2 {
		b = fix(cat(b, u32(rsdpSize2), u64(xsdt), make([]byte, 4)), 32)
	}
	return b
}

// root places the root tables and an RSDP, and returns the RSDP's address.
func (m *machine) root(rev uint8) uint64 {
	var r, x []byte
	for _, a := range m.addrs {
		r, x = append(r, u32(uint32(a))...), append(x, u64(a)...)
	}
	rsdt, xsdt := m.put(table("RSDT", 1, r)), m.put(table("XSDT", 1, x))
	return m.put(rsdp(rev, uint32(rsdt), xsdt))
}

func gasBytes(space, width uint8, addr uint64) []byte {
	return cat([]byte{space, width, 0, 0}, u64(addr))
}

func madtTable() []byte {
	return table("APIC", 4, cat(u32(0xfee00000), u32(1),
		[]byte{0, 8, 0, 0}, u32(1),
		[]byte{0, 8, 1, 1}, u32(2),
		[]byte{0, 8, 2, 2}, u32(0),
		[]byte{0, 8, 3, 0xff}, u32(0),
		[]byte{9, 16, 0, 0}, u32(0x100), u32(1), u32(4),
		[]byte{9, 16, 0, 0}, u32(1), u32(1), u32(1), // CPU 1 again, enabled
		[]byte{1, 12, 8, 0}, u32(0xfec00000), u32(0),
		[]byte{2, 10, 0, 0}, u32(2), u16(0),
		[]byte{2, 10, 0, 9}, u32(9), u16(0xd),
		[]byte{3, 8}, u16(5), u32(23),
		[]byte{4, 6, 0xff}, u16(5), []byte{1},
		[]byte{10, 12}, u16(0), u32(4), []byte{1, 0, 0, 0},
		[]byte{127, 4, 0, 0},
		[]byte{5, 12, 0, 0}, u64(0xfee01000),
	))
}

var wantMADT = MADT{
	LocalAPIC: 0xfee01000, PCAT: true,
	CPUs: []CPU{
		{UID: 0, APICID: 0, Enabled: true},
		{UID: 1, APICID: 1, X2APIC: true, Enabled: true},
		{UID: 2, APICID: 2},
		{UID: 4, APICID: 0x100, X2APIC: true, Enabled: true},
	},
	IOAPICs:   []IOAPIC{{8, 0xfec00000, 0}},
	Overrides: []Override{{0, 2, PolarityBus, TriggerBus}, {9, 9, PolarityHigh, TriggerLevel}},
	NMIs:      []NMI{{23, PolarityHigh, TriggerEdge}},
	LocalNMIs: []LocalNMI{{AllCPUs, 1, PolarityHigh, TriggerEdge}, {4, 1, PolarityBus, TriggerBus}},
}

// fadtBody returns the FADT behind its header, size bytes long with it.
func fadtBody(size int, dsdt uint64, flags uint32) []byte {
	b := make([]byte, 276)
	put := func(off int, v []byte) { copy(b[off:], v) }
	put(40, u32(uint32(dsdt)))
	put(46, u16(9))
	put(48, u32(0xb2))
	put(52, []byte{0xf1, 0xf0})
	put(56, u32(0x600))
	put(64, u32(0x604))
	put(76, u32(0x608))
	put(88, []byte{4, 2, 0, 4})
	put(108, []byte{0x32})
	put(109, u16(2))
	put(112, u32(flags))
	put(116, gasBytes(1, 8, 0xcf9))
	put(128, []byte{0xf})
	put(140, u64(dsdt))
	put(148, gasBytes(1, 32, 0x1600))
	put(208, gasBytes(1, 32, 0x12345)) // impossible: the old field holds
	put(244, gasBytes(0, 8, 0xfed00010))
	return b[headerSize:size]
}

// s5 is Name (\_S5, Package {a, b, 0, 0}) as iasl encodes it.
func s5(prefix string, a, b uint8) []byte {
	return cat([]byte{0x08}, []byte(prefix+"_S5_"), []byte{0x12, 0x08, 0x04, 0x0a, a, 0x0a, b, 0, 0})
}

func fullMachine() (*machine, uint64) {
	m := newMachine()
	dsdt := m.put(table("DSDT", 2, cat([]byte("junk_S5_"), s5("", 5, 6), []byte("tail"))))
	m.add(
		table("FACP", 6, fadtBody(276, dsdt, FADTResetReg|FADTTimerExt)),
		madtTable(),
		table("MCFG", 1, cat(make([]byte, 8), u64(0xb0000000), u16(0), []byte{0, 255}, u32(0))),
		table("HPET", 1, cat(u32(0x8086a201), gasBytes(0, 64, 0xfed00000), []byte{0}, u16(100), []byte{0})),
	)
	return m, m.root(2)
}

func TestParse(t *testing.T) {
	m, addr := fullMachine()
	got, err := Parse(m.mem, addr)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Problems) != 0 {
		t.Errorf("problems %q", got.Problems)
	}
	if got.Revision != 2 || got.OEMID != "NIDUS" || len(got.Headers) != 5 {
		t.Errorf("%+v", got)
	}
	if h := got.Headers[1]; h.Signature != "APIC" || h.OEMTableID != "TESTTABL" || h.OEMRevision != 7 || h.Revision != 4 {
		t.Errorf("header %+v", h)
	}
	if !reflect.DeepEqual(*got.MADT, wantMADT) {
		t.Errorf("MADT\n got %+v\nwant %+v", *got.MADT, wantMADT)
	}
	if want := []ECAM{{0xb0000000, 0, 0, 255}}; !reflect.DeepEqual(got.MCFG, want) || got.MCFG[0].Size() != 256<<20 {
		t.Errorf("MCFG %+v", got.MCFG)
	}
	if want := (HPET{0xfed00000, 0, 0x8086, 3, true, true, 100}); *got.HPET != want {
		t.Errorf("HPET %+v, want %+v", *got.HPET, want)
	}
	if got.S5 == nil || *got.S5 != (SleepType{5, 6}) {
		t.Errorf("S5 %+v", got.S5)
	}
	f := got.FADT
	io := func(width uint8, addr uint64) Register { return Register{Space: SpaceIO, Width: width, Addr: addr} }
	want := FADT{
		Revision: 6, DSDT: tableBase, SCI: 9, SMICommand: 0xb2, ACPIEnable: 0xf1, ACPIDis: 0xf0,
		PM1aEvent: io(32, 0x1600), PM1aControl: io(16, 0x604), PMTimer: io(32, 0x608),
		Century: 0x32, BootArch: BootArch8042, Flags: FADTResetReg | FADTTimerExt,
		Reset: io(8, 0xcf9), ResetValue: 0xf,
		SleepControl: Register{Space: SpaceMemory, Width: 8, Addr: 0xfed00010},
	}
	if *f != want {
		t.Errorf("FADT\n got %+v\nwant %+v", *f, want)
	}
	if !f.CanReset() || !f.PMTimer32() || f.HardwareReduced() {
		t.Error("FADT flags")
	}
	if o := got.MADT.GSI(0); o.GSI != 2 {
		t.Errorf("IRQ 0 at %+v", o)
	}
	if o := got.MADT.GSI(4); o.GSI != 4 || o.IRQ != 4 {
		t.Errorf("IRQ 4 at %+v", o)
	}
}

func TestFindRSDP(t *testing.T) {
	for _, c := range []struct {
		name string
		at   int
		ebda uint16
		want uint64
	}{
		{"BIOS area", 0xf5a40, 0, 0xf5a40},
		{"its start", 0xe0000, 0, 0xe0000},
		{"its end", 0xfffe0, 0, 0xfffe0},
		{"EBDA", 0x9fc10, 0x9fc0, 0x9fc10},
		{"behind EBDA's KiB", 0x9fc10 + 0x400, 0x9fc0, 0},
		{"unaligned", 0xf5a48, 0, 0},
		{"impossible EBDA", 0x410, 0x41, 0},
	} {
		mem := make(phys, 1<<20)
		copy(mem[0x40e:], u16(c.ebda))
		copy(mem[c.at:], rsdp(0, 0x1234, 0))
		got, err := FindRSDP(mem)
		if got != c.want || (err == nil) != (c.want != 0) || err != nil && !errors.Is(err, ErrNoRSDP) {
			t.Errorf("%s: %#x, %v; want %#x", c.name, got, err, c.want)
		}
	}
	mem := make(phys, 1<<20)
	copy(mem[0xe0000:], rsdp(0, 0x1234, 0))
	mem[0xe0010]++
	if a, err := FindRSDP(mem); err == nil {
		t.Errorf("wrong checksum found at %#x", a)
	}
}

// TestRoot covers the ways from the RSDP to the tables.
func TestRoot(t *testing.T) {
	build := func() (*machine, uint64) { m := newMachine().add(madtTable()); return m, m.root(2) }
	for _, c := range []struct {
		name    string
		change  func(m *machine, at uint64) uint64
		problem string
		err     string
	}{
		{"plain", func(m *machine, at uint64) uint64 { return at }, "S5", ""},
		{"20 bytes of revision 2", func(m *machine, at uint64) uint64 { m.mem[at+25]++; return at }, "S5", ""},
		{"no XSDT", func(m *machine, at uint64) uint64 {
			x := binary.LittleEndian.Uint64(m.mem[at+24:])
			m.mem[x+10]++
			return at
		}, "wrong checksum", ""},
		{"found in the BIOS", func(m *machine, at uint64) uint64 {
			copy(m.mem[0xf0000:], m.mem[at:at+36])
			return 0
		}, "S5", ""},
		{"loader's address wrong", func(m *machine, at uint64) uint64 {
			copy(m.mem[0xf0000:], m.mem[at:at+36])
			return 0x5000
		}, "wrong signature", ""},
		{"none", func(m *machine, at uint64) uint64 { m.mem[at]++; return at }, "", "no ACPI root pointer"},
		{"address beyond", func(m *machine, at uint64) uint64 { return ^uint64(0) }, "", "no ACPI root pointer"},
		{"no root table", func(m *machine, at uint64) uint64 {
			copy(m.mem[at:], rsdp(0, 0, 0))
			return at
		}, "", "impossible address"},
		{"root is another table", func(m *machine, at uint64) uint64 {
			copy(m.mem[at:], rsdp(0, tableBase, 0))
			return at
		}, "", `is "APIC", not RSDT`},
	} {
		m, at := build()
		got, err := Parse(m.mem, c.change(m, at))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", c.name, err, c.err)
			}
			continue
		}
		if err != nil || got.MADT == nil || !strings.Contains(strings.Join(got.Problems, "\n"), c.problem) {
			t.Errorf("%s: %+v, %v; want a MADT and the problem %q", c.name, got, err, c.problem)
		}
	}
}

// TestBadTables asserts that a bad table is left out, named, and harms no other.
func TestBadTables(t *testing.T) {
	mcfg := func(base uint64, first, last uint8) []byte {
		return table("MCFG", 1, cat(make([]byte, 8), u64(base), u16(0), []byte{first, last}, u32(0)))
	}
	spoilt := madtTable()
	spoilt[40]++
	long := madtTable()
	copy(long[4:], u32(maxTableSize+1))
	short := madtTable()
	copy(short[4:], u32(35))
	beyond := madtTable()
	copy(beyond[4:], u32(0x8000))
	for _, c := range []struct {
		name, problem string
		bad           []byte
	}{
		{"checksum", "wrong checksum", spoilt},
		{"too long", "impossible length", long},
		{"too short", "impossible length 35", short},
		{"beyond memory", "no memory here", beyond},
		{"MADT short", "too short", table("APIC", 1, u32(0))},
		{"MADT entry 0", "impossible size 0", table("APIC", 1, cat(make([]byte, 8), []byte{0, 0}))},
		{"MADT entry small", "impossible size 7", table("APIC", 1, cat(make([]byte, 8), []byte{0, 7, 0, 0, 0, 0, 0}))},
		{"MADT entry cut", "impossible size 8", table("APIC", 1, cat(make([]byte, 8), []byte{0, 8, 0, 0}))},
		{"FADT short", "too short", table("FACP", 1, make([]byte, 79))},
		{"MCFG empty", "no entry", table("MCFG", 1, make([]byte, 8))},
		{"MCFG base", "impossible entry", mcfg(0x1000, 0, 1)},
		{"MCFG buses", "impossible entry", mcfg(1<<20, 2, 1)},
		{"MCFG high", "impossible entry", mcfg(1<<63, 0, 1)},
		{"HPET short", "too short", table("HPET", 1, make([]byte, 19))},
		{"HPET address", "impossible address", table("HPET", 1, make([]byte, 20))},
	} {
		m := newMachine().add(c.bad, table("GOOD", 1, nil))
		got, err := Parse(m.mem, m.root(2))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if h := got.Headers; len(h) == 0 || h[len(h)-1].Signature != "GOOD" {
			t.Errorf("%s: the next table is missing: %+v", c.name, h)
		}
		if !strings.Contains(strings.Join(got.Problems, "\n"), c.problem) {
			t.Errorf("%s: problems %q, want %q", c.name, got.Problems, c.problem)
		}
		if got.MADT != nil || got.FADT != nil || got.HPET != nil || got.MCFG != nil {
			t.Errorf("%s: the bad table was used: %+v", c.name, got)
		}
	}
}

func TestFADTVersions(t *testing.T) {
	for _, c := range []struct {
		size     int
		flags    uint32
		canReset bool
		event    uint64
		control  uint64
	}{
		{116, FADTResetReg, false, 0x600, 0x604},
		{129, FADTResetReg, true, 0x600, 0x604},
		{159, FADTResetReg, true, 0x600, 0x604}, // X_PM1a_EVT_BLK cut off
		{160, FADTResetReg, true, 0x1600, 0x604},
		{276, FADTResetReg | FADTHardwareReduced, true, 0, 0},
		{276, 0, false, 0x1600, 0x604},
	} {
		f, err := parseFADT(table("FACP", 3, fadtBody(c.size, tableBase, c.flags)))
		if err != nil {
			t.Fatal(err)
		}
		if f.CanReset() != c.canReset || f.PM1aEvent.Addr != c.event || f.PM1aControl.Addr != c.control || f.DSDT != tableBase {
			t.Errorf("%d bytes, flags %#x: %+v", c.size, c.flags, *f)
		}
	}
}

func TestScanS5(t *testing.T) {
	name := func(b ...byte) []byte { return cat([]byte{0x08}, []byte("_S5_"), b) }
	for _, c := range []struct {
		name string
		aml  []byte
		want *SleepType
	}{
		{"QEMU", s5("", 0, 0), &SleepType{0, 0}},
		{"with root", s5(`\`, 7, 5), &SleepType{7, 5}},
		{"second place", cat([]byte("_S5_"), s5("", 3, 3)), &SleepType{3, 3}},
		{"opcodes for 0 and 1", name(0x12, 6, 4, 1, 0, 0, 0), &SleepType{1, 0}},
		{"one element", name(0x12, 4, 1, 0x0a, 6), &SleepType{6, 6}},
		{"word and dword", name(0x12, 10, 2, 0x0b, 5, 0, 0x0c, 6, 0, 0, 0), &SleepType{5, 6}},
		{"length of two bytes", name(0x12, 0x46, 0, 2, 0x0a, 5, 1, 0), &SleepType{5, 1}},
		{"nothing", []byte("nothing here"), nil},
		{"too large", s5("", 8, 0), nil},
		{"second too large", s5("", 0, 8), nil},
		{"cut behind the name", name(), nil},
		{"cut in the length", name(0x12, 0xc0, 0), nil},
		{"cut in the package", name(0x12, 8, 4, 0x0a, 5), nil},
		{"empty", name(0x12, 2, 0), nil},
		{"no room", name(0x12, 2, 1), nil},
		{"length 0", name(0x12, 0, 1, 1, 1), nil},
		{"a method call", name(0x12, 6, 1, 'A', 'B', 'C', 'D'), nil},
		{"a method", cat([]byte{0x14, 0x06}, []byte("_S5_"), []byte{0}), nil},
	} {
		if got := scanS5(c.aml); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	if a, b := (SleepType{5, 7}).PM1(); a != 0x3400 || b != 0x3c00 {
		t.Errorf("PM1 values %#x, %#x", a, b)
	}
}

func TestS5InSSDT(t *testing.T) {
	m := newMachine()
	dsdt := m.put(table("DSDT", 2, []byte("nothing")))
	m.add(table("SSDT", 1, []byte("x")), table("SSDT", 1, s5("", 4, 4)), table("FACP", 3, fadtBody(276, dsdt, 0)))
	got, err := Parse(m.mem, m.root(0))
	if err != nil || got.S5 == nil || *got.S5 != (SleepType{4, 4}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// flat is a fuzzer's bytes at tableBase, with nothing below.
type flat []byte

func (p flat) ReadPhys(addr uint64, b []byte) error {
	if addr < tableBase {
		return errHole
	}
	return phys(p).ReadPhys(addr-tableBase, b)
}

func FuzzACPI(f *testing.F) {
	m, at := fullMachine()
	f.Add([]byte(m.mem[tableBase:m.next]), uint32(at-tableBase))
	f.Add(madtTable(), uint32(0))
	f.Add(s5("", 5, 5), uint32(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint32) {
		if len(data) > 1<<16 {
			return
		}
		// The parsers behind the checksum, which a fuzzer rarely gets right.
		if len(data) >= headerSize {
			if m, err := parseMADT(data); err == nil {
				seen := map[uint32]bool{}
				for _, c := range m.CPUs {
					if seen[c.APICID] {
						t.Fatalf("APIC ID %#x twice", c.APICID)
					}
					seen[c.APICID] = true
				}
			}
			if list, _ := parseMCFG(data); len(list) > 0 {
				for _, e := range list {
					if e.First > e.Last || e.Start()+e.Size() > 1<<52 {
						t.Fatalf("ECAM %+v", e)
					}
				}
			}
			if f, err := parseFADT(data); err == nil {
				for _, r := range []Register{f.PM1aEvent, f.PM1aControl, f.PMTimer, f.Reset, f.SleepControl} {
					if r.Space == SpaceIO && r.Addr > 0xffff || r.Addr >= 1<<52 {
						t.Fatalf("register %+v", r)
					}
				}
			}
			if h, err := parseHPET(data); err == nil && (h.Base == 0 || h.Base >= 1<<52) {
				t.Fatalf("HPET %+v", *h)
			}
		}
		if s := scanS5(data); s != nil && (s.A > 7 || s.B > 7) {
			t.Fatalf("S5 %+v", *s)
		}
		mem := flat(data)
		got, err := Parse(mem, tableBase+uint64(at))
		if err != nil {
			return
		}
		if len(got.Problems) > maxProblems || len(got.Headers) > maxTables+1 {
			t.Fatalf("%d problems, %d tables", len(got.Problems), len(got.Headers))
		}
		for _, h := range got.Headers {
			if h.Length < headerSize || h.Addr+uint64(h.Length) > tableBase+uint64(len(mem)) {
				t.Fatalf("header %+v", h)
			}
		}
	})
}
