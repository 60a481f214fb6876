package core

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"nidus/drivers/backend"
	"nidus/drivers/blkback"
	"nidus/drivers/block"
	"nidus/drivers/block/drive"
	"nidus/kernel/console"
	"nidus/rpc/control"
)

// DiskSpec is an element of disk= (xl-disk-configuration(5)), as far as it matters here.
type DiskSpec struct {
	Text   string // as written
	Target string
	Format string
	// Name and Number are the guest's: xvda, 51712.
	Name            string
	Number          uint32
	ReadOnly, CDROM bool
	NoDiscard       bool
	Untrusted       bool // the guest is told not to trust the backend
	Phy             bool // a device of the host, no file
	// depth is how many images it is below.
	depth int
	// Missing is what it asks for that can't be had here; "" if nothing.
	Missing string
}

// diskLinger is blkback.Disk.Linger, where leaving a guest costs much.
const diskLinger = 200 * time.Microsecond

// maxDisks bounds a domain's disks.
const maxDisks = 32

// OpenBlock opens a device of the host for one user at a time, or says who has it.
type OpenBlock func(readOnly bool) (block.Device, error)

// blocks are the devices of the host by name.
type blocks struct {
	mu   sync.Mutex
	open map[string]OpenBlock
}

// RegisterBlock makes a device of the host known under names such as /dev/vda, for
// phy:. A nil open takes the name away.
func (c *Core) RegisterBlock(name string, open OpenBlock) {
	b := &c.blocks
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = map[string]OpenBlock{}
	}
	if open == nil {
		delete(b.open, name)
	} else {
		b.open[name] = open
	}
}

// Blocks returns the names of the host's devices.
func (c *Core) Blocks() []string {
	b := &c.blocks
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for n := range b.open {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// disk is one that a domain has.
type disk struct {
	spec   DiskSpec
	device block.Device
	drive  *drive.Drive // device, if that is a CD drive
	back   *blkback.Disk
	dev    *backend.Device // nil until it is served
	note   string          // control.DeviceInfo's
	failed func(error)     // logs that the device was not closed well
}

// disks are those of a domain.
type disks struct {
	devices[*disk]
	quota blkback.Quota // of what their backends keep
}

// parseDisk parses an element of disk= and refuses what can't be had.
func (c *Core) parseDisk(text string) (DiskSpec, error) {
	if c.ParseDisk == nil {
		return DiskSpec{}, control.Errorf(control.ErrNotYet, "disk: this host serves no disks")
	}
	s, err := c.ParseDisk(text)
	if err != nil {
		return s, control.Errorf(control.ErrBadConfig, "disk '%s': %v", text, err)
	}
	switch {
	case s.Missing != "":
		return s, control.Errorf(control.ErrNotYet, "disk '%s': %s", text, s.Missing)
	case s.Format != "raw" && s.Format != "qcow2":
		return s, control.Errorf(control.ErrNotYet, "disk '%s': the format %s can't be read; there are raw and qcow2, which \"qemu-img convert\" makes", text, s.Format)
	}
	return s, nil
}

// attachDisks gives a domain that was just built its disks. What it began, the domain's
// Destroy ends.
func (c *Core) attachDisks(e *Entry) error {
	for _, text := range e.config.Disks {
		if _, err := c.attachDisk(e, text); err != nil {
			return err
		}
	}
	return nil
}

// attachDisk gives a domain one more disk.
func (c *Core) attachDisk(e *Entry, text string) (*disk, error) {
	s, err := c.parseDisk(text)
	if err != nil {
		return nil, err
	}
	l := &e.disks
	l.changing.Lock()
	defer l.changing.Unlock()
	if err := l.room(e, maxDisks, "disk '"+text+"'", "disks"); err != nil {
		return nil, err
	}
	for _, o := range l.all {
		if o.spec.Number == s.Number {
			return nil, control.Errorf(control.ErrExists, "disk '%s': the domain has %s already", text, o.spec.Name)
		}
	}
	d := &disk{spec: s, failed: func(err error) { c.Host.Log.Printf(console.LevelError, "d%d: %s: %v", e.ID, s.Name, err) }}
	var from source
	if s.CDROM {
		from, err = d.openDrive(c)
	} else {
		d.device, from, err = c.openDisk(s)
	}
	if err != nil {
		return nil, err
	}
	d.note = from.note
	if err = c.serveDisk(e, d); err != nil {
		return nil, errors.Join(err, d.device.Close())
	}
	l.add(d)
	c.Host.Log.Printf(console.LevelInfo, "d%d: %s (%d MiB) is %s", e.ID, s.Name, d.device.Info().Sectors>>11, from)
	return d, nil
}

// serveDisk starts the backend.
func (c *Core) serveDisk(e *Entry, d *disk) (err error) {
	s := &d.spec
	guest := &backend.Guest{ID: e.ID, Grants: e.Grants, Space: e.Space, Local: c.Host.Dom0}
	log := func(format string, args ...any) { c.Host.Log.Printf(console.LevelWarning, format, args...) }
	kind, mode := "disk", "w"
	// Linux leaves a "cdrom" of a guest that is not PV to the machine that is emulated
	// for it, which no PVH guest has; info says that it is one, in any case.
	if s.CDROM && e.config.Type == control.PV {
		kind = "cdrom"
	}
	if s.ReadOnly || d.device.Info().ReadOnly {
		mode = "r"
	}
	var linger time.Duration
	if c.Spare {
		linger = diskLinger
	}
	d.back = &blkback.Disk{Guest: guest, Device: d.device, CDROM: s.CDROM, NoDiscard: s.NoDiscard, Quota: &e.disks.quota, Linger: linger, Log: log}
	d.dev, err = backend.New(backend.Config{
		Guest: guest, Store: c.Host.Store, Kind: "vbd", ID: s.Number, Log: log, Driver: d.back,
		Front: []backend.Node{backend.Num("virtual-device", s.Number), {Name: "device-type", Value: kind}, backend.Flag("trusted", !s.Untrusted)},
		Back: []backend.Node{{Name: "params", Value: s.Target}, {Name: "type", Value: s.backType()}, {Name: "mode", Value: mode},
			{Name: "dev", Value: s.Name}, {Name: "device-type", Value: kind}, backend.Flag("removable", d.device.Info().Removable || s.CDROM)},
	})
	return err
}

func (d *disk) close() {
	d.dev.Close()
	if err := d.device.Close(); err != nil {
		d.failed(err)
	}
}

// backType is what xl calls the kind of its backend.
func (s *DiskSpec) backType() string {
	if s.Phy {
		return "phy"
	}
	return "file"
}

func (d *disk) info() control.DeviceInfo {
	return control.DeviceInfo{Kind: control.DeviceBlock, DevID: int(d.spec.Number), Name: d.spec.Name, Spec: d.spec.Text, State: int(d.dev.State()), Note: d.note}
}

func (d *disk) backend() *backend.Device { return d.dev }

func (d *disk) held() string {
	return d.spec.Name + ": the guest has not let go of it (is it mounted?)"
}

// Disks describes a domain's disks.
func (e *Entry) Disks() []control.DeviceInfo { return e.disks.infos() }

// find returns the disk of a name or number. mu or changing is held.
func (l *disks) find(e *Entry, ref string) (*disk, error) {
	i := slices.IndexFunc(l.all, func(d *disk) bool {
		return d.spec.Name == ref || strconv.FormatUint(uint64(d.spec.Number), 10) == ref
	})
	if i < 0 {
		return nil, control.Errorf(control.ErrNoDevice, "domain %d has no disk %s; \"block-list\" shows its disks", e.ID, ref)
	}
	return l.all[i], nil
}

// AttachDisk gives a domain that runs one more disk; spec is an element of disk=.
func (c *Core) AttachDisk(e *Entry, spec string) (control.DeviceInfo, error) {
	d, err := c.attachDisk(e, spec)
	if err != nil {
		return control.DeviceInfo{}, err
	}
	return d.info(), nil
}

// DetachDisk takes a disk from a domain, by name or number: once the guest has let go of
// it, which it need not, or at once if force is set.
func (c *Core) DetachDisk(ctx context.Context, e *Entry, ref string, force bool) error {
	return e.disks.detach(ctx, func() (*disk, error) { return e.disks.find(e, ref) }, force)
}
