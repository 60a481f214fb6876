package core

import (
	"errors"
	"io/fs"
	"runtime/debug"
	"strings"

	"nidus/drivers/block"
	"nidus/mm"
	"nidus/rpc/control"
)

// Volume is the host's data partition (drivers/volume).
type Volume interface {
	Name() string
	// Open makes a disk of a file, Read reads one of at most most bytes; the errors wrap
	// fs.ErrNotExist if there is none. A disk may have a Tail() int: how many bytes of its
	// last sector are the file's, 0 for all.
	Open(path string, readOnly bool) (block.Device, error)
	Read(path string, most int64) ([]byte, error)
}

// dataPath tells whether a name is that of a file on the data partition, if there is one.
func (c *Core) dataPath(name string) (path string, ok bool) {
	path, ok = strings.CutPrefix(name, control.DataPrefix)
	return path, ok && c.Data != nil
}

// Module returns a boot module by its name, or by a path that ends in it, an uploaded
// file, or one of the data partition.
func (c *Core) Module(name string) (*Module, error) {
	const part = 4 // of the machine's memory
	return c.ModuleUpTo(name, int64(c.Host.Memory.Stats().Total*mm.PageSize/part))
}

// ModuleUpTo is Module; a file of the data partition has most bytes at most, as it is read,
// and no more than there is memory for.
func (c *Core) ModuleUpTo(name string, most int64) (*Module, error) {
	if path, ok := c.dataPath(name); ok {
		free := c.unpromised()
		if uint64(most)+fileReserve > free {
			debug.FreeOSMemory()
			free = c.unpromised()
		}
		most = min(most, int64(max(free, fileReserve)-fileReserve))
		b, err := c.Data.Read(path, most)
		if err == nil {
			return &Module{Name: name, Data: b}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, control.Errorf(control.ErrNoFile, "%v", err)
		}
	}
	if strings.HasPrefix(name, control.UploadPrefix) {
		return c.uploaded(name)
	}
	if strings.HasPrefix(name, control.LocalPrefix) {
		return nil, control.Errorf(control.ErrNoFile, "%q: files are uploaded by an xl on another machine; here, name a boot module (\"modules\" lists them)", name)
	}
	base := name[strings.LastIndexByte(name, '/')+1:]
	for _, n := range [...]string{name, base} {
		for i := range c.Modules {
			if m := &c.Modules[i]; m.Name == n {
				return m, nil
			}
		}
	}
	also := ""
	if path, ok := c.dataPath(name); ok {
		also = c.Data.Name() + " has no file " + path + ", and there is "
	}
	return nil, control.Errorf(control.ErrNoFile, "%sno boot module %q; \"modules\" lists those that the loader brought", also, name)
}
