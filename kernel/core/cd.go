package core

import (
	"errors"
	"fmt"
	"slices"

	"nidus/drivers/backend"
	"nidus/drivers/block"
	"nidus/drivers/block/drive"
	"nidus/kernel/console"
	"nidus/rpc/control"
)

// openDrive makes a drive with the disc that d's specification names, if any.
func (d *disk) openDrive(c *Core) (from source, err error) {
	d.drive = drive.New(d.spec.Name)
	d.device = d.drive
	if d.spec.Target == "" {
		return source{what: "an empty CD drive"}, nil
	}
	from, err = d.load(c, d.spec)
	from.what = "a CD drive with " + from.what
	return from, err
}

// load puts the disc of a specification into the drive.
func (d *disk) load(c *Core, s DiskSpec) (from source, err error) {
	var disc block.Device
	if s.Target != "" {
		if disc, from, err = c.openDisk(s); err != nil {
			return from, err
		}
	}
	if err := d.drive.Change(disc); err != nil {
		if disc != nil {
			err = errors.Join(control.Errorf(control.ErrBadConfig, "disk '%s': %v", s.Text, err), disc.Close())
		}
		return source{}, err
	}
	return from, nil
}

// ChangeCD puts a disc into a CD drive of a domain that runs, instead of the one that is
// there, or takes it out if target is empty. A restart of the domain has it too.
//
// The guest is told by its drive's nodes: the backend stays connected and says its state
// once more, at which Linux' blkfront reads the new size. A frontend that doesn't look
// sees the new size when it connects again, by block-detach and block-attach.
func (c *Core) ChangeCD(e *Entry, ref, target string) (control.DeviceInfo, error) {
	l := &e.disks
	l.changing.Lock()
	defer l.changing.Unlock()
	d, err := l.find(e, ref)
	if err != nil {
		return control.DeviceInfo{}, err
	}
	if d.drive == nil {
		return control.DeviceInfo{}, control.Errorf(control.ErrBadState, "%s of domain %d is no CD drive; one is written as ',xvdc:cdrom' in disk=", d.spec.Name, e.ID)
	}
	s, err := c.parseDisk(fmt.Sprintf("vdev=%s,access=r,devtype=cdrom,target=%s", d.spec.Name, target))
	if err != nil {
		return control.DeviceInfo{}, err
	}
	from, err := d.load(c, s)
	if err != nil {
		return control.DeviceInfo{}, err
	}
	if from.what == "" {
		from.what = "empty"
	}
	if err := c.configCD(e, d.spec.Number, s); err != nil {
		return control.DeviceInfo{}, err
	}
	l.mu.Lock()
	d.spec = s
	l.mu.Unlock()
	c.Host.Log.Printf(console.LevelInfo, "d%d: CD drive %s is changed: %s", e.ID, s.Name, from)
	nodes := append(d.back.Describe(), backend.Node{Name: "params", Value: s.Target}, backend.Node{Name: "type", Value: s.backType()})
	return d.info(), d.dev.Tell(nodes...)
}

// configCD makes a drive's disc that of the next restart.
func (c *Core) configCD(e *Entry, number uint32, s DiskSpec) error {
	e.mu.Lock()
	e.change(func(cfg *control.DomainConfig) {
		cfg.Disks = slices.Clone(cfg.Disks) // who has read it may go on
		for i, text := range cfg.Disks {
			if o, err := c.parseDisk(text); err == nil && o.Number == number {
				cfg.Disks[i] = s.Text
			}
		}
	})
	e.mu.Unlock()
	next := e.NextConfig()
	release, err := c.Hold(&next)
	if err != nil {
		return err
	}
	e.mu.Lock()
	old := e.release
	if e.gone {
		old = release
	} else {
		e.release = release
	}
	e.mu.Unlock()
	old()
	return nil
}
