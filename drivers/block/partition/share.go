package partition

import (
	"errors"
	"fmt"
	"sync"

	"nidus/drivers/block"
)

// ErrInUse says that a part of a disk has a writer, or is to have one while it is read.
var ErrInUse = errors.New("in use")

// Disk hands a disk out, whole or in partitions: what is written has one user.
type Disk struct {
	disk block.Device

	mu    sync.Mutex
	users map[*user]bool
}

// user is who has a part of the disk.
type user struct {
	*Device
	of       *Disk
	e        Entry
	readOnly bool
	once     sync.Once
}

// NewDisk makes a Disk.
func NewDisk(d block.Device) *Disk { return &Disk{disk: d, users: map[*user]bool{}} }

// Whole is an entry for all of the disk.
func (d *Disk) Whole() Entry { return Entry{Sectors: d.disk.Info().Sectors} }

// Open gives a part of the disk to one more user, until that closes it. The error wraps
// ErrInUse.
func (d *Disk) Open(e Entry, name string, readOnly bool) (block.Device, error) {
	u := &user{Device: Open(d.disk, e, name), of: d, e: e}
	if readOnly {
		u.info.ReadOnly, u.info.CanDiscard = true, false
	}
	u.readOnly = u.info.ReadOnly
	d.mu.Lock()
	defer d.mu.Unlock()
	for o := range d.users {
		if e.First < o.e.First+o.e.Sectors && o.e.First < e.First+e.Sectors && !(u.readOnly && o.readOnly) {
			how := "written"
			if o.readOnly {
				how = "read"
			}
			return nil, fmt.Errorf("%s is %s already, by a domain or the host: %w", o.info.Name, how, ErrInUse)
		}
	}
	d.users[u] = true
	return u, nil
}

// Close implements block.Device.
func (u *user) Close() error {
	err := u.Device.Close()
	u.once.Do(func() {
		u.of.mu.Lock()
		delete(u.of.users, u)
		u.of.mu.Unlock()
	})
	return err
}
