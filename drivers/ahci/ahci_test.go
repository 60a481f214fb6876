package ahci

import (
	"errors"
	"strings"
	"testing"
	"time"

	"nidus/drivers/ahci/ahcitest"
	"nidus/drivers/block"
	"nidus/drivers/block/blocktest"
	"nidus/drivers/device/devicetest"
	"nidus/drivers/pci"
	"nidus/mm"
)

// quick are limits for tests in which nothing ends by itself.
var quick = limits{tick: 5 * time.Millisecond, command: 4, exec: 50 * time.Millisecond, line: 2 * time.Millisecond, back: 5 * time.Millisecond,
	ready: 50 * time.Millisecond, stop: 5 * time.Millisecond, reset: 5 * time.Millisecond}

// patient are for tests in which all ends.
var patient = limits{tick: 5 * time.Millisecond, command: 1 << 20, exec: time.Minute, line: 2 * time.Millisecond, back: time.Minute,
	ready: time.Minute, stop: time.Minute, reset: time.Minute}

const sectors = 256

func start(t *testing.T, l limits, change func(*ahcitest.Device, *ahcitest.Disk)) ([]*Disk, *ahcitest.Device, *devicetest.Log, error) {
	k := ahcitest.NewDisk(sectors, 9)
	m := &ahcitest.Device{Host: &devicetest.Host{NumCPU: 3}, Disks: map[int]*ahcitest.Disk{1: k}, Ports: 4, Slots: 32, NCQ: true}
	if change != nil {
		change(m, k)
	}
	f := m.Function()
	t.Cleanup(m.Close)
	lg := &devicetest.Log{}
	ds, _, err := open(m.Host, f, lg.Printf, l)
	return ds, m, lg, err
}

// large makes a disk's sectors larger.
func large(d *ahcitest.Device, shift uint8) *ahcitest.Disk {
	d.Disks[1] = ahcitest.NewDisk(sectors, shift)
	return d.Disks[1]
}

// TestRandom has goroutines write, read back, and flush parts of their own, in memory of any
// shape. Some settings have commands fail and be done again meanwhile.
func TestRandom(t *testing.T) {
	spoil := func(k *ahcitest.Disk) { // the line spoils commands
		n := 0
		k.Fail = func(c ahcitest.Command) uint8 {
			if n++; n%41 == 0 && c.Op != ataIdentify && c.Op != ataReadLog {
				return errInterface
			}
			return 0
		}
	}
	for name, change := range map[string]func(*ahcitest.Device, *ahcitest.Disk){
		"queued":              nil,
		"not queued":          func(d *ahcitest.Device, _ *ahcitest.Disk) { d.NCQ = false },
		"a disk of no queue":  func(_ *ahcitest.Device, k *ahcitest.Disk) { k.Depth = 0 },
		"short queue, no FUA": func(_ *ahcitest.Device, k *ahcitest.Disk) { k.Depth, k.FUA = 3, false },
		"one slot, no FUA":    func(d *ahcitest.Device, k *ahcitest.Disk) { d.Slots, k.FUA = 1, false },
		"sectors of 4096":     func(d *ahcitest.Device, _ *ahcitest.Disk) { large(d, 12) },
		"no cache":            func(_ *ahcitest.Device, k *ahcitest.Disk) { k.Cache = false },
		"a bad line":          func(_ *ahcitest.Device, k *ahcitest.Disk) { spoil(k) },
		"a bad line, no log":  func(_ *ahcitest.Device, k *ahcitest.Disk) { spoil(k); k.NoLog = true },
	} {
		t.Run(name, func(t *testing.T) {
			ds, m, lg, err := start(t, patient, change)
			if err != nil || len(ds) != 1 {
				t.Fatal(ds, err)
			}
			k := m.Disks[1]
			blocktest.Hammer(t, ds[0], m.Host, func(s uint64, b []byte) { m.Set(func() { copy(b, k.Safe[s*512:]) }) })
			queued := k.Seen[ataReadQueued] > 0
			if queued != (m.NCQ && k.Depth > 0) || !k.NoLog && lg.String() != "" || lg.Count("\n") > 1 || k.NoLog != (k.Resets > 0) {
				t.Errorf("queued: %v, %d resets, log %q", queued, k.Resets, lg)
			}
			if string(k.Safe) != string(k.Now) {
				t.Error("the cache was not written")
			}
		})
	}
}

func TestInfo(t *testing.T) {
	ds, m, lg, err := start(t, quick, func(d *ahcitest.Device, k *ahcitest.Disk) {
		d.BIOS, d.Ports = true, 12
		d.Disks[0] = ahcitest.NewDisk(1, 9)
		d.Disks[0].Signature = sigPacket
		d.Disks[0].Hold = func(ahcitest.Command) bool { return true }
		for i, bad := range []func(*ahcitest.Disk){
			func(k *ahcitest.Disk) { k.Signature = sigMultiplier },
			func(k *ahcitest.Disk) { k.Signature = sigEnclosure },
			func(k *ahcitest.Disk) { k.Stopped = true },
			func(k *ahcitest.Disk) { k.Old = true },
			func(k *ahcitest.Disk) { k.Shift = 13 },
			func(k *ahcitest.Disk) { k.Trimmed = nil },
			func(k *ahcitest.Disk) { k.Fail = func(ahcitest.Command) uint8 { return errAbort } },
			func(k *ahcitest.Disk) { k.Hold = func(ahcitest.Command) bool { return true } },
		} {
			d.Disks[3+i] = ahcitest.NewDisk(1, 9)
			bad(d.Disks[3+i])
		}
		k = ahcitest.NewDisk(7, 12)
		k.Cache, k.Trim = false, false
		d.Disks[2] = k
	})
	if err != nil || len(ds) != 2 {
		t.Fatal(ds, err)
	}
	want := block.Info{Sectors: sectors, SectorSize: 512, PhysicalSize: 4096, CanFlush: true, CanDiscard: true, DiscardUnit: 512,
		MaxSegments: maxSegments, Prompt: true, MaxBytes: 128 * 4096, Name: "SATA Model. of ahcitest at 00:00.0, port 1"}
	big := block.Info{Sectors: 56, SectorSize: 4096, PhysicalSize: 4096, DiscardUnit: 4096, MaxSegments: maxSegments, Prompt: true, MaxBytes: 128 * 4096,
		Name: "SATA Model. of ahcitest at 00:00.0, port 2"}
	for i, w := range []block.Info{want, big} {
		if ds[i].Info() != w || ds[i].Port() != i+1 {
			t.Errorf("disk %d: got\n%+v, want\n%+v", i, ds[i].Info(), w)
		}
	}
	if lg.Count("\n") != 9 || lg.Count("port 3: a port multiplier is connected") != 1 || lg.Count("does not become ready") != 1 {
		t.Errorf("the log says %q", lg)
	}
	for _, d := range ds {
		if err := errors.Join(d.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
	if n := m.Host.Frames(); n != 0 {
		t.Errorf("%d frames are in use", n)
	}
}

func TestDiscard(t *testing.T) {
	const many = 70 * 0xffff // more than a command takes
	ds, m, _, err := start(t, patient, func(d *ahcitest.Device, k *ahcitest.Disk) { k.Trimmed = make([]int, many+100) })
	if err != nil {
		t.Fatal(err)
	}
	if err := block.Do(ds[0], &block.Request{Op: block.Discard, Sector: 5, Sectors: many}); err != nil {
		t.Error(err)
	}
	for i, n := range m.Disks[1].Trimmed {
		if want := i >= 5 && i < many+5; (n == 1) != want || n > 1 {
			t.Fatalf("sector %d was discarded %d times", i, n)
		}
	}
	if n := m.Disks[1].Seen[ataDataSet]; n != 2 {
		t.Errorf("%d commands", n)
	}
}

// TestErrors has single commands fail, of those that are queued with others in flight.
func TestErrors(t *testing.T) {
	for _, log := range []bool{true, false} {
		ds, m, lg, err := start(t, patient, func(_ *ahcitest.Device, k *ahcitest.Disk) { k.NoLog = !log })
		if err != nil {
			t.Fatal(err)
		}
		frame, _ := m.Host.Alloc(0, mm.ZoneAny)
		page := []block.Segment{{Frame: frame, Len: 4096}}
		for _, c := range []struct {
			register uint8
			r        block.Request
			want     error
		}{
			{errMedium, block.Request{Sector: 64, Segments: page}, Status{0x51, errMedium}},
			{errMedium | errInterface, block.Request{Op: block.WriteFUA, Sector: 64, Segments: page}, Status{0x51, errMedium | errInterface}},
			{errInterface, block.Request{Op: block.Write, Sector: 64, Segments: page}, Status{0x51, errInterface}},
			{errAbort, block.Request{Op: block.Write, Sector: 64, Segments: page}, Status{0x51, errAbort}},
			{errAbort, block.Request{Op: block.Flush}, block.ErrUnsupported},
			{errAbort, block.Request{Op: block.Discard, Sector: 64, Sectors: 1}, block.ErrUnsupported},
			{0, block.Request{Sector: sectors, Segments: page}, block.ErrRange},
			{0, block.Request{Sector: 64, Segments: page}, nil},
		} {
			m.Set(func() {
				m.Disks[1].Fail = func(x ahcitest.Command) uint8 {
					if x.LBA == 64 || x.Op == ataFlush || x.Op == ataDataSet {
						return c.register
					}
					return 0
				}
			})
			others := make(chan []error)
			go func() { others <- blocktest.Flood(t, ds[0], m.Host, 100) }()
			if err := block.Do(ds[0], &c.r); !errors.Is(err, c.want) {
				t.Errorf("log %v, %#x: %v, want %v", log, c.register, err, c.want)
			}
			if err := errors.Join(<-others...); err != nil {
				t.Errorf("log %v, %#x: others: %v", log, c.register, err)
			}
		}
		if !log != (lg.Count("\n") == 1 && lg.Count("one by one") == 1) || log != (lg.String() == "") {
			t.Errorf("the log says %q", lg)
		}
		if err := ds[0].Close(); err != nil {
			t.Error(err)
		}
	}
	if s := (Status{0x51, errMedium}).Error(); !strings.Contains(s, "of the medium") {
		t.Error(s)
	}
}

// TestLate has a disk that does not end some commands; it works on, until that is too often.
func TestLate(t *testing.T) {
	for _, ncq := range []bool{true, false} {
		ds, m, lg, err := start(t, quick, func(d *ahcitest.Device, _ *ahcitest.Disk) { d.NCQ = ncq })
		if err != nil {
			t.Fatal(err)
		}
		k := m.Disks[1]
		hold := func() { // one command, until the reset
			m.Set(func() {
				resets, slot := k.Resets, -1
				k.Hold = func(c ahcitest.Command) bool {
					if slot < 0 && (c.Op == ataRead || c.Op == ataReadQueued) {
						slot = int(c.Slot)
					}
					return int(c.Slot) == slot && k.Resets == resets
				}
			})
		}
		for i := 1; i <= mostResets; i++ {
			hold()
			late := 0
			for _, err := range blocktest.Flood(t, ds[0], m.Host, 10) {
				if errors.Is(err, ErrTimeout) {
					late++
				} else if err != nil {
					t.Error(err)
				}
			}
			if late == 0 || lg.Count("was reset") != i || k.Resets != i {
				t.Errorf("%d were late, %d resets, the log says %q", late, k.Resets, lg)
			}
			if err := block.Do(ds[0], &block.Request{Op: block.Flush}); err != nil {
				t.Errorf("after the reset: %v", err)
			}
		}
		hold()
		last := 0
		for _, err := range blocktest.Flood(t, ds[0], m.Host, 100) {
			if errors.Is(err, block.ErrGone) {
				last++
			}
		}
		if last == 0 || lg.Count("4th time in a row; the disk is not used any more") != 1 {
			t.Errorf("%d of 100 end with the disk, the log says %q", last, lg)
		}
		if err := ds[0].Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestGone has things go: all requests end, and the log has a line for each disk.
func TestGone(t *testing.T) {
	zeroes, ones := uint32(0), uint32(dead)
	other := ahcitest.NewDisk(sectors, 9)
	other.Serial = "6"
	for name, c := range map[string]struct {
		breaks func(*ahcitest.Device)
		says   string
		others bool // the controller's other disk works
		keeps  bool // memory that it may reach
	}{
		"the disk":        {func(d *ahcitest.Device) { d.Plug(1, nil) }, "the disk is not there any more", true, false},
		"another disk":    {func(d *ahcitest.Device) { d.Plug(1, other) }, "it is another disk now", true, false},
		"the controller":  {func(d *ahcitest.Device) { d.Set(func() { d.Dead = &ones }) }, "the controller is not there any more", false, false},
		"that, in QEMU":   {func(d *ahcitest.Device) { d.Set(func() { d.Dead = &zeroes }) }, "the controller is not there any more", false, false},
		"it can't stop":   {func(d *ahcitest.Device) { d.Set(func() { d.StuckPort = true }); d.Plug(1, other) }, "the port does not stop", true, true},
		"it interrupts":   {func(d *ahcitest.Device) { d.Set(func() { d.Storm = true }) }, "does not stop interrupting", false, false},
		"it is not ready": {func(d *ahcitest.Device) { k := *other; k.Stopped = true; d.Plug(1, &k) }, "does not become ready", true, false},
	} {
		ds, m, lg, err := start(t, quick, func(d *ahcitest.Device, k *ahcitest.Disk) { d.Disks[2] = ahcitest.NewDisk(sectors, 9) })
		if err != nil || len(ds) != 2 {
			t.Fatal(ds, err)
		}
		m.Set(func() { m.Disks[1].Hold = func(ahcitest.Command) bool { return true } })
		go func() {
			time.Sleep(3 * quick.tick) // in the middle of the flood, or before it
			c.breaks(m)
		}()
		for _, err := range blocktest.Flood(t, ds[0], m.Host, 300) {
			if !errors.Is(err, block.ErrGone) && !errors.Is(err, ErrTimeout) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := lg.Count("port 1") - lg.Count("was reset"); lg.Count(c.says) == 0 || n != 1 && !c.keeps {
			t.Errorf("%s: the log says %q", name, lg)
		}
		if !c.keeps {
			for _, err := range blocktest.Flood(t, ds[1], m.Host, 10) {
				if (err == nil) != c.others {
					t.Errorf("%s: the other disk: %v", name, err)
				}
			}
		}
		for _, d := range ds {
			if err := d.Close(); (err != nil) != c.keeps {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := m.Host.Frames(); (n > 2) != c.keeps {
			t.Errorf("%s: %d frames are in use", name, n)
		}
	}
}

// TestLies has a disk name a command that failed which is not in flight.
func TestLies(t *testing.T) {
	for _, tag := range []uint8{0x80, 31} {
		ds, m, lg, err := start(t, patient, func(_ *ahcitest.Device, k *ahcitest.Disk) {
			k.Depth = 8
			k.Lie = func(log *[4]uint8) { log[0] = tag }
			k.Fail = func(c ahcitest.Command) uint8 {
				if c.LBA == 8 {
					return errMedium
				}
				return 0
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		frame, _ := m.Host.Alloc(0, mm.ZoneAny)
		others := make(chan []error)
		go func() { others <- blocktest.Flood(t, ds[0], m.Host, 50) }()
		if err := block.Do(ds[0], &block.Request{Sector: 8, Segments: []block.Segment{{Frame: frame, Len: 512}}}); !errors.Is(err, Status{0x51, errMedium}) {
			t.Errorf("%#x: %v", tag, err)
		}
		if err := errors.Join(<-others...); err != nil || lg.Count("one by one") != 1 {
			t.Errorf("%#x: %v, log %q", tag, err, lg)
		}
		if err := ds[0].Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestUnusable(t *testing.T) {
	ones := uint32(dead)
	for name, change := range map[string]func(*ahcitest.Device, *ahcitest.Disk){
		"not there":       func(d *ahcitest.Device, _ *ahcitest.Disk) { d.Dead = &ones },
		"no reset":        func(d *ahcitest.Device, _ *ahcitest.Disk) { d.Stuck = true },
		"32 bits":         func(d *ahcitest.Device, _ *ahcitest.Disk) { d.Narrow = true },
		"no messages":     func(d *ahcitest.Device, _ *ahcitest.Disk) { d.NoMSI = true },
		"no memory":       func(d *ahcitest.Device, _ *ahcitest.Disk) { d.Host.Most = 20 },
		"no memory early": func(d *ahcitest.Device, _ *ahcitest.Disk) { d.Host.Most = 1 },
	} {
		ds, m, lg, err := start(t, quick, change)
		if strings.HasPrefix(name, "no memory") && lg.Count(mm.ErrNoMemory.Error()) == 1 {
			err = mm.ErrNoMemory
		}
		if len(ds) != 0 || !errors.Is(err, ErrUnusable) && !errors.Is(err, mm.ErrNoMemory) && !errors.Is(err, ErrTimeout) && !errors.Is(err, pci.ErrNoMessages) {
			t.Errorf("%s: %v, %v", name, ds, err)
		}
		if n := m.Host.Frames(); n != 0 {
			t.Errorf("%s: %d frames are left", name, n)
		}
	}
	if ds, m, lg, err := start(t, quick, func(d *ahcitest.Device, _ *ahcitest.Disk) { d.Disks = nil }); ds != nil || err != nil || lg.String() != "" || m.Host.Frames() != 0 {
		t.Errorf("nothing is connected: %v, %v, log %q", ds, err, lg)
	}
}
