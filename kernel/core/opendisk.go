package core

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"nidus/drivers/block"
	"nidus/drivers/block/qcow2"
	"nidus/drivers/block/ram"
	"nidus/kernel/console"
	"nidus/mm"
	"nidus/rpc/control"
)

// ramPrefix begins the target of a disk that is empty memory: ram:64M.
const ramPrefix = "ram:"

// maxDepth bounds how many images are below each other.
const maxDepth = 8

// source is what a disk is made of, for people.
type source struct {
	what string
	note string // what they have to know of it; "" if nothing
}

// String is all of it.
func (s source) String() string {
	if s.note == "" {
		return s.what
	}
	return s.what + "; " + s.note
}

// lostNote is that of a disk in memory.
const lostNote = "what the guest writes stays in the host's memory, and is lost with the domain"

// openDisk opens what a specification names, and says what it is.
func (c *Core) openDisk(s DiskSpec) (d block.Device, from source, err error) {
	d, from, err = c.openRaw(s)
	if err != nil || s.Format != "qcow2" {
		return d, from, err
	}
	i, err := qcow2.Open(qcow2.Config{
		Device: d, Memory: c.Host.Memory, ReadOnly: s.ReadOnly, Name: s.Target,
		Log:     func(format string, args ...any) { c.Host.Log.Printf(console.LevelWarning, format, args...) },
		Backing: func(name, format string) (block.Device, error) { return c.openBacking(s, name, format) },
	})
	if err != nil {
		return nil, source{}, control.Errorf(control.ErrBadConfig, "disk '%s': %v", s.Text, err)
	}
	from.what += ", qcow2"
	return i, from, nil
}

// openBacking opens the image below another one: a name without a folder is in that one's.
// An image in a file, which may come from anywhere, can't name a device of the host's: a
// guest would read there what is others'.
func (c *Core) openBacking(s DiskSpec, name, format string) (block.Device, error) {
	if format != "raw" && format != "qcow2" {
		return nil, fmt.Errorf("the format %s can't be read; there are raw and qcow2", format)
	}
	if s.depth >= maxDepth {
		return nil, fmt.Errorf("%d images are below each other, or in a circle; at most %d may be", s.depth+1, maxDepth)
	}
	if !strings.HasPrefix(name, "/") && strings.HasPrefix(s.Target, "/") {
		name = path.Join(path.Dir(s.Target), name)
	}
	if c.isDevice(name) && !s.Phy && !c.isDevice(s.Target) {
		return nil, fmt.Errorf("it is the host's device %s, which an image in a file can't name; put the image on a partition", name)
	}
	d, _, err := c.openDisk(DiskSpec{Text: s.Text, Target: name, Format: format, ReadOnly: true, depth: s.depth + 1})
	return d, err
}

// isDevice tells whether a name is that of a device of the host's.
func (c *Core) isDevice(name string) bool {
	c.blocks.mu.Lock()
	defer c.blocks.mu.Unlock()
	return c.blocks.open[name] != nil
}

// openRaw opens what a specification names, whatever is in it.
func (c *Core) openRaw(s DiskSpec) (d block.Device, from source, err error) {
	c.blocks.mu.Lock()
	open := c.blocks.open[s.Target]
	c.blocks.mu.Unlock()
	switch size, isRAM := strings.CutPrefix(s.Target, ramPrefix); {
	case open != nil:
		if d, err = open(s.ReadOnly); err != nil {
			return nil, source{}, control.Errorf(control.ErrBadConfig, "disk '%s': %v", s.Text, err)
		}
		return d, source{what: "the host's " + s.Target}, nil
	case s.Phy:
		return nil, source{}, control.Errorf(control.ErrNoFile, "disk '%s': the host has no device %s; it has: %s", s.Text, s.Target, strings.Join(append(c.Blocks(), "no other"), ", "))
	case isRAM:
		n, err := parseSize(size)
		if err != nil {
			return nil, source{}, control.Errorf(control.ErrBadConfig, "disk '%s': %v", s.Text, err)
		}
		d, err = ram.New(ram.Config{Memory: c.Host.Memory, Bytes: n, ReadOnly: s.ReadOnly, Name: s.Target, Promises: &c.promises})
		return d, source{"memory of the host, empty", lostNote}, ramError(s, err)
	}
	if file, ok := c.dataPath(s.Target); ok {
		d, err = c.Data.Open(file, s.ReadOnly)
		if err == nil {
			if t, ok := d.(interface{ Tail() int }); ok && t.Tail() != 0 && s.Format == "raw" && !s.ReadOnly {
				d.Close()
				return nil, source{}, control.Errorf(control.ErrBadConfig, "disk '%s': the file ends %d bytes into a sector of 512, and can't grow here: \"truncate -s %%512 FILE\" before it is copied makes it whole, or attach it r", s.Text, t.Tail())
			}
			return d, source{what: "the file " + file + " of " + c.Data.Name()}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, source{}, control.Errorf(control.ErrBadConfig, "disk '%s': %v", s.Text, err)
		}
	}
	return c.openModule(s)
}

// openModule opens a boot module or an uploaded file, of which the disk is a copy in
// memory where it is written.
func (c *Core) openModule(s DiskSpec) (d block.Device, from source, err error) {
	release, err := c.hold(s.Target)
	if err != nil {
		return nil, source{}, fmt.Errorf("disk '%s': %w", s.Text, err)
	}
	m, err := c.Module(s.Target)
	if err == nil {
		r := ram.Config{Memory: c.Host.Memory, Base: m.Data, ReadOnly: s.ReadOnly, Name: m.Name, Promises: &c.promises}
		if s.Format == "qcow2" && !s.ReadOnly { // room to grow, up to half of what there is
			r.Bytes = min(qcow2.Room(m.Data), uint64(len(m.Data))+c.unpromised()/2)
		}
		d, err = ram.New(r)
		err = ramError(s, err)
	} else {
		err = fmt.Errorf("disk '%s': %w", s.Text, err)
	}
	if err != nil {
		release()
		return nil, source{}, err
	}
	from.what = "the boot module " + m.Name
	if strings.HasPrefix(m.Name, control.UploadPrefix) {
		from.what = "the uploaded file " + m.Name
	}
	if !s.ReadOnly {
		from.note = lostNote
	}
	return held{d, release}, from, nil
}

// held is a device that keeps what it is made of until it is closed.
type held struct {
	block.Device
	release func()
}

// Close implements block.Device.
func (h held) Close() error {
	defer h.release()
	return h.Device.Close()
}

func ramError(s DiskSpec, err error) error {
	if errors.Is(err, mm.ErrNoMemory) {
		return control.Errorf(control.ErrNoMemory, "disk '%s': %v", s.Text, err)
	}
	if err != nil {
		return control.Errorf(control.ErrBadConfig, "disk '%s': %v", s.Text, err)
	}
	return nil
}

// parseSize reads a number of bytes with K, M or G behind it.
func parseSize(s string) (uint64, error) {
	digits := strings.TrimRight(s, "KMG")
	shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30}
	n, err := strconv.ParseUint(digits, 10, 64)
	by, ok := shift[s[len(digits):]]
	if err != nil || !ok || n == 0 || n > maxMemory>>by {
		return 0, fmt.Errorf("%q is no size; write a number with K, M or G behind it, such as ram:64M", s)
	}
	return n << by, nil
}
