package ahci

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"nidus/drivers/ahci/ahcitest"
	"nidus/drivers/block"
	"nidus/drivers/block/blocktest"
	"nidus/drivers/device/devicetest"
	"nidus/mm"
)

// discBytes makes what is on a disc of so many sectors.
func discBytes(sectors int, seed uint64) []byte {
	b := make([]byte, sectors*cdSector)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func startDrive(t *testing.T, change func(*ahcitest.Disk)) (*Drive, *ahcitest.Device, *ahcitest.Disk, *devicetest.Log) {
	k := &ahcitest.Disk{Signature: sigPacket, Disc: discBytes(100, 1), New: true}
	if change != nil {
		change(k)
	}
	m := &ahcitest.Device{Host: &devicetest.Host{NumCPU: 2}, Disks: map[int]*ahcitest.Disk{2: k}, Ports: 3, Slots: 32, NCQ: true}
	f := m.Function()
	t.Cleanup(m.Close)
	lg := &devicetest.Log{}
	disks, drives, err := open(m.Host, f, lg.Printf, patient)
	if err != nil || len(disks) != 0 || len(drives) != 1 {
		t.Fatal(disks, drives, err)
	}
	return drives[0], m, k, lg
}

// TestDisc reads a disc in pieces of any size, at any sector of 512 bytes, by several at once.
func TestDisc(t *testing.T) {
	d, m, k, lg := startDrive(t, func(k *ahcitest.Disk) { k.Starting = 2 })
	x, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	want := block.Info{Sectors: 400, SectorSize: 512, PhysicalSize: 2048, ReadOnly: true, Removable: true, MaxSegments: 128, MaxBytes: 128 * 4096,
		Name: "Model. of ahcitest at 00:00.0, port 2"}
	if x.Info() != want {
		t.Errorf("got\n%+v, want\n%+v", x.Info(), want)
	}
	var readers sync.WaitGroup
	for i := range uint64(6) {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(i, 2))
			frame, _ := m.Host.Alloc(0, mm.ZoneAny)
			defer m.Host.Free(frame, 0)
			for range 100 {
				n := 1 + rnd.IntN(4)
				first, from := rnd.IntN(400-2*n), rnd.IntN(3)
				segs := []block.Segment{{Frame: frame, Off: uint16(from) * 512, Len: uint16(n) * 512}, {Frame: frame, Off: 3584 - uint16(n-1)*512, Len: uint16(n) * 512}}
				if err := block.Do(x, &block.Request{Sector: uint64(first), Segments: segs[:1+n%2]}); err != nil {
					t.Error(err)
					return
				}
				got := make([]byte, n*512)
				if m.Host.Page(frame).Read(from*512, got); from+n <= 8-n && !bytes.Equal(got, k.Disc[first*512:(first+n)*512]) {
					t.Errorf("%d sectors at %d are others", n, first)
				}
			}
		})
	}
	readers.Wait()
	for op, want := range map[block.Op]error{block.Write: block.ErrReadOnly, block.Flush: block.ErrUnsupported, block.Discard: block.ErrUnsupported} {
		if err := block.Do(x, &block.Request{Op: op, Segments: []block.Segment{{Frame: 1, Len: 512}}}); !errors.Is(err, want) {
			t.Errorf("operation %d: %v", op, err)
		}
	}
	if err := d.Close(); err != nil || m.Host.Frames() != 0 || lg.String() != "" {
		t.Errorf("%v, %d frames are in use, log %q", err, m.Host.Frames(), lg)
	}
}

// TestDiscChanges: what is read of a disc is never another one's.
func TestDiscChanges(t *testing.T) {
	d, m, k, lg := startDrive(t, func(k *ahcitest.Disk) { k.Disc = nil })
	if _, err := d.Open(); !errors.Is(err, ErrNoDisc) {
		t.Errorf("an empty drive: %v", err)
	}
	m.Set(func() { k.Disc, k.New = discBytes(10, 1), true })
	first, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(blocktest.Flood(t, first, m.Host, 20)...); err != nil {
		t.Error(err)
	}
	m.Set(func() { k.Disc, k.New = discBytes(20, 2), true })
	for _, x := range []block.Device{first, again} {
		for _, err := range blocktest.Flood(t, x, m.Host, 50) {
			if !errors.Is(err, block.ErrGone) {
				t.Error(err)
			}
		}
	}
	second, err := d.Open()
	if err != nil || second.Info().Sectors != 80 {
		t.Fatal(err)
	}
	if err := errors.Join(blocktest.Flood(t, second, m.Host, 20)...); err != nil {
		t.Error(err)
	}
	m.Set(func() { k.Disc = nil })
	for _, err := range blocktest.Flood(t, second, m.Host, 50) {
		if !errors.Is(err, block.ErrGone) {
			t.Error(err)
		}
	}
	if lg.Count("\n") != 2 || lg.Count("not in the drive any more") != 2 {
		t.Errorf("the log says %q", lg)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestDiscFails: an error of the disc is that request's.
func TestDiscFails(t *testing.T) {
	d, m, k, lg := startDrive(t, nil)
	x, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	m.Set(func() {
		k.Fail = func(c ahcitest.Command) uint8 {
			if n++; n%3 == 0 {
				return senseMedium << 4
			}
			return 0
		}
	})
	bad := 0
	for _, err := range blocktest.Flood(t, x, m.Host, 30) {
		if errors.Is(err, SenseKey(senseMedium)) {
			bad++
		} else if err != nil {
			t.Error(err)
		}
	}
	if bad != 10 || lg.String() != "" {
		t.Errorf("%d of 30 fail, log %q", bad, lg)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
