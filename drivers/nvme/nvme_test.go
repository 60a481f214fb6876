package nvme

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"nidus/drivers/block"
	"nidus/drivers/block/blocktest"
	"nidus/drivers/device/devicetest"
	"nidus/drivers/nvme/nvmetest"
	"nidus/mm"
)

// quick are limits for tests in which nothing ends by itself.
var quick = limits{tick: 5 * time.Millisecond, admin: 100 * time.Millisecond, command: 4, abort: 4}

// patient are for tests in which all ends.
var patient = limits{tick: 5 * time.Millisecond, admin: time.Minute, command: 1 << 20, abort: 1 << 20}

const blocks = 256

func start(t *testing.T, l limits, change func(*nvmetest.Device)) ([]*Disk, *nvmetest.Device, *devicetest.Log, error) {
	m := &nvmetest.Device{Host: &devicetest.Host{NumCPU: 3}, Namespaces: []*nvmetest.Namespace{nvmetest.NewNamespace(blocks, 9)},
		Cache: true, Discard: true, MostPages: 5, Queues: 2, Vectors: 4, Depth: 1024, Version: 0x10400}
	if change != nil {
		change(m)
	}
	f := m.Function()
	t.Cleanup(m.Close)
	lg := &devicetest.Log{}
	ds, err := open(m.Host, f, lg.Printf, l)
	return ds, m, lg, err
}

// TestRandom has goroutines write, read back, and flush parts of their own, in memory of any
// shape.
func TestRandom(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*nvmetest.Device)
	}{
		{"PRPs", nil},
		{"SGLs", func(d *nvmetest.Device) { d.SGL = true }},
		{"blocks of 4096", func(d *nvmetest.Device) { d.Namespaces[0] = nvmetest.NewNamespace(blocks, 12) }},
		{"blocks of 4096, SGLs", func(d *nvmetest.Device) { d.Namespaces[0], d.SGL = nvmetest.NewNamespace(blocks, 12), true }},
		{"blocks of 2048, short queues", func(d *nvmetest.Device) { d.Namespaces[0], d.Depth = nvmetest.NewNamespace(blocks, 11), 3 }},
		{"no cache, doorbells apart", func(d *nvmetest.Device) { d.Cache, d.Stride, d.Queues = false, 3, 64 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ds, m, lg, err := start(t, patient, c.change)
			if err != nil {
				t.Fatal(err)
			}
			n := m.Namespaces[0]
			blocktest.Hammer(t, ds[0], m.Host, func(s uint64, b []byte) { m.Set(func() { copy(b, n.Safe[s*512:]) }) })
			if m.SGL != (m.Scattered > 0) || !m.Down || lg.String() != "" {
				t.Errorf("%d SGLs, shut down: %v, log %q", m.Scattered, m.Down, lg)
			}
		})
	}
}

func TestInfo(t *testing.T) {
	ds, m, lg, err := start(t, patient, func(d *nvmetest.Device) {
		add := func(n *nvmetest.Namespace) { d.Namespaces = append(d.Namespaces, n) }
		n := nvmetest.NewNamespace(7, 12)
		n.Protected = true
		add(n)
		for _, bad := range []func(*nvmetest.Namespace){
			func(n *nvmetest.Namespace) { n.Gone = true },
			func(n *nvmetest.Namespace) { n.Metadata = 8 },
			func(n *nvmetest.Namespace) { n.Shift = 13 },
			func(n *nvmetest.Namespace) { n.Shift = 8 },
		} {
			n := nvmetest.NewNamespace(1, 9)
			bad(n)
			add(n)
		}
		n = nvmetest.NewNamespace(9, 9)
		n.Grain = 16
		add(n)
	})
	if err != nil {
		t.Fatal(err)
	}
	base := block.Info{Sectors: blocks, SectorSize: 512, PhysicalSize: 512, CanFlush: true, CanDiscard: true, DiscardUnit: 512,
		MaxSegments: maxSegments, Prompt: true, MaxBytes: 32 * 4096, Name: "NVMe Model. of nvmetest at 00:00.0, namespace 1"}
	big, grain := base, base
	big.Sectors, big.SectorSize, big.PhysicalSize, big.DiscardUnit, big.ReadOnly, big.CanDiscard = 56, 4096, 4096, 4096, true, false
	grain.Sectors, grain.DiscardUnit = 9, 8192
	for i, want := range []struct {
		block.Info
		nsid uint32
	}{{base, 1}, {big, 2}, {grain, 7}} {
		want.Name = strings.Replace(want.Name, "e 1", fmt.Sprintf("e %d", want.nsid), 1)
		if len(ds) <= i || ds[i].Info() != want.Info || ds[i].Namespace() != want.nsid {
			t.Fatalf("disk %d: got\n%+v, want\n%+v", i, ds[i].Info(), want)
		}
	}
	if len(ds) != 3 || strings.Count(lg.String(), "\n") != 3 || !strings.Contains(lg.String(), "8 bytes of metadata") || len(ds[0].c.queues) != 2 {
		t.Errorf("%d disks, %d queues, the log says %q", len(ds), len(ds[0].c.queues), lg)
	}
	for i, d := range ds {
		if m.Down {
			t.Errorf("down after %d of 3 disks were closed", i)
		}
		if err := errors.Join(d.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
	if !m.Down {
		t.Error("not shut down")
	}
}

func TestDiscard(t *testing.T) {
	ds, m, _, err := start(t, patient, func(d *nvmetest.Device) { d.Namespaces[0] = nvmetest.NewNamespace(blocks, 12) })
	if err != nil {
		t.Fatal(err)
	}
	if err := block.Do(ds[0], &block.Request{Op: block.Discard, Sector: 5 * 8, Sectors: 33 * 8}); err != nil {
		t.Error(err)
	}
	for i, n := range m.Namespaces[0].Trimmed {
		if want := i >= 5 && i < 38; (n == 1) != want || n > 1 {
			t.Errorf("block %d was discarded %d times", i, n)
		}
	}
	// More than a command takes.
	f := flight{r: &block.Request{Op: block.Discard, Sectors: 3 * mostDiscard}, sectors: 2 * mostDiscard}
	if !f.more(0) {
		t.Error("the rest of a discard is forgotten")
	}
}

func TestErrors(t *testing.T) {
	ds, m, lg, err := start(t, patient, nil)
	if err != nil {
		t.Fatal(err)
	}
	frame, _ := m.Host.Alloc(0, mm.ZoneAny)
	page := []block.Segment{{Frame: frame, Len: 4096}}
	for _, c := range []struct {
		status uint16
		r      block.Request
		want   error
	}{
		{0x281, block.Request{Segments: page}, Status{2, 0x81}},
		{0x280, block.Request{Op: block.WriteFUA, Segments: page}, Status{2, 0x80}},
		{0x001, block.Request{Op: block.Flush}, block.ErrUnsupported},
		{0x00b, block.Request{Op: block.Flush}, block.ErrGone},
		{0x020, block.Request{Op: block.Write, Segments: page}, block.ErrReadOnly},
		{0x080, block.Request{Segments: page}, block.ErrRange},
		{0x081, block.Request{Op: block.Write, Segments: page}, block.ErrNoSpace},
		{0x008, block.Request{Segments: page}, ErrTimeout},
		{0, block.Request{Sector: blocks, Segments: page}, block.ErrRange},
		{0, block.Request{Segments: page}, nil},
	} {
		m.Set(func() { m.Status = func(nvmetest.Command) uint16 { return c.status } })
		if err := block.Do(ds[0], &c.r); !errors.Is(err, c.want) {
			t.Errorf("%#x: %v, want %v", c.status, err, c.want)
		}
	}
	if s := (Status{2, 0x81}).Error(); !strings.Contains(s, "unrecovered read") || lg.String() != "" {
		t.Errorf("%q, log %q", s, lg)
	}
}

// TestHostile has devices that say what can't be; all requests end, and later ones too.
func TestHostile(t *testing.T) {
	for name, corrupt := range map[string]func(id *uint16, phase *bool){
		"an id beyond the queue": func(id *uint16, _ *bool) { *id |= 0xff },
		"an id that never was":   func(id *uint16, _ *bool) { *id &= 0xff },
		"an id of before":        func(id *uint16, _ *bool) { *id -= 1 << 8 },
		"all ones":               func(id *uint16, _ *bool) { *id = 0xffff },
	} {
		ds, m, lg, err := start(t, patient, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.Set(func() {
			m.Corrupt = func(_ uint16, id *uint16, phase *bool) { corrupt(id, phase) }
		})
		for _, err := range blocktest.Flood(t, ds[0], m.Host, 300) {
			if !errors.Is(err, block.ErrGone) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if strings.Count(lg.String(), "\n") != 1 || !strings.Contains(lg.String(), "not keep to the protocol") {
			t.Errorf("%s: the log says %q", name, lg)
		}
		if err := ds[0].Close(); err != nil {
			t.Error(err)
		}
		if n := m.Host.Frames(); n != 1 {
			t.Errorf("%s: %d frames are in use", name, n)
		}
	}
}

// TestLate has a device that does not do a command until it is aborted.
func TestLate(t *testing.T) {
	ds, m, lg, err := start(t, quick, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Set(func() { m.Hold = func(c nvmetest.Command) bool { return c.Queue > 0 && c.Op == cmdRead } })
	for _, err := range blocktest.Flood(t, ds[0], m.Host, 3) {
		if !errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
	}
	if strings.Count(lg.String(), "is aborted") != 3 || strings.Contains(lg.String(), "reset") {
		t.Errorf("the log says %q", lg)
	}
	if err := block.Do(ds[0], &block.Request{Op: block.Flush}); err != nil {
		t.Error(err)
	}
}

// TestReset has a device that must be reset, and works then; and again, until it is given up.
func TestReset(t *testing.T) {
	for name, breaks := range map[string]func(*nvmetest.Device){
		"no abort": func(d *nvmetest.Device) {
			d.Hold = func(c nvmetest.Command) bool { return c.Op == cmdRead || c.Op == adminAbort }
		},
		"fatal": func(d *nvmetest.Device) { d.Fatal = true },
	} {
		ds, m, lg, err := start(t, quick, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= mostResets; i++ {
			m.Set(func() { breaks(m) })
			for _, err := range blocktest.Flood(t, ds[0], m.Host, 10) {
				// Those that were submitted during the reset are held, or done, after it.
				if err != nil && !errors.Is(err, ErrTimeout) {
					t.Errorf("%s: %v", name, err)
				}
				m.Set(func() { m.Hold = nil })
			}
			if err := block.Do(ds[0], &block.Request{Op: block.Flush}); err != nil {
				t.Errorf("%s: after the reset: %v", name, err)
			}
			if n := strings.Count(lg.String(), "it is reset"); n != i || m.Resets != i+1 {
				t.Errorf("%s: %d resets, %d seen, the log says %q", name, n, m.Resets, lg)
			}
		}
		m.Set(func() { breaks(m) })
		last := 0
		for _, err := range blocktest.Flood(t, ds[0], m.Host, 200) {
			if errors.Is(err, block.ErrGone) {
				last++
			}
		}
		if last == 0 || !strings.Contains(lg.String(), "4th time in a row; it is not used any more") {
			t.Errorf("%s: %d of 200 end with the device, the log says %q", name, last, lg)
		}
		if err := ds[0].Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestGone pulls a device out.
func TestGone(t *testing.T) {
	for _, reads := range []uint32{dead, 0} { // real buses, and QEMU
		ds, m, lg, err := start(t, quick, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.Set(func() { m.Dead = &reads })
		for _, err := range blocktest.Flood(t, ds[0], m.Host, 300) {
			if !errors.Is(err, block.ErrGone) {
				t.Error(err)
			}
		}
		if lg.Count("\n") != 1 || lg.Count("not there any more") != 1 {
			t.Errorf("the log says %q", lg)
		}
		if err := ds[0].Close(); err != nil {
			t.Error(err)
		}
		if n := m.Host.Frames(); n != 1 {
			t.Errorf("%d frames are in use", n)
		}
	}
}

// TestStuck has a device that can't be stopped: it keeps its memory, and requests end.
func TestStuck(t *testing.T) {
	ds, m, lg, err := start(t, quick, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := m.Host.Frames()
	m.Set(func() { m.Stuck, m.Fatal = true, true })
	for _, err := range blocktest.Flood(t, ds[0], m.Host, 300) {
		if !errors.Is(err, block.ErrGone) {
			t.Error(err)
		}
	}
	if err := ds[0].Close(); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if n := m.Host.Frames(); n != before+1 || !strings.Contains(lg.String(), "can't be stopped") {
		t.Errorf("%d frames are in use, %d before; the log says %q", n, before, lg)
	}
}

func TestUnusable(t *testing.T) {
	for name, c := range map[string]func(d *nvmetest.Device){
		"one interrupt":    func(d *nvmetest.Device) { d.Vectors = 1 },
		"a queue of 1":     func(d *nvmetest.Device) { d.Depth = 1 },
		"doorbells afar":   func(d *nvmetest.Device) { d.Stride = 15 },
		"doorbells beyond": func(d *nvmetest.Device) { d.Stride = 11 },
		"other commands":   func(d *nvmetest.Device) { d.Sets = 2 },
		"large pages":      func(d *nvmetest.Device) { d.LeastPage = 1 },
		"no namespace":     func(d *nvmetest.Device) { d.Namespaces = nil },
		"not there":        func(d *nvmetest.Device) { ones := uint32(dead); d.Dead = &ones },
		"never ready":      func(d *nvmetest.Device) { d.Stuck = true },
		"no answer":        func(d *nvmetest.Device) { d.Hold = func(nvmetest.Command) bool { return true } },
		"fails":            func(d *nvmetest.Device) { d.Status = func(nvmetest.Command) uint16 { return 6 } },
		"lies": func(d *nvmetest.Device) {
			d.Corrupt = func(_ uint16, id *uint16, _ *bool) { *id++ }
		},
		"no memory":       func(d *nvmetest.Device) { d.Host.Most = 50 },
		"no memory early": func(d *nvmetest.Device) { d.Host.Most = 1 },
	} {
		_, m, _, err := start(t, quick, c)
		var s Status
		if !errors.Is(err, ErrUnusable) && !errors.Is(err, mm.ErrNoMemory) && !errors.Is(err, ErrTimeout) && !errors.As(err, &s) {
			t.Errorf("%s: %v", name, err)
		}
		if n := m.Host.Frames(); n != 0 {
			t.Errorf("%s: %d frames are left", name, n)
		}
	}
}
