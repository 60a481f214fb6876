// Package create is what the making of a domain has in common, whatever its type: what a
// domain is made of, that nothing is left of one that fails, and how xenstore comes to
// know it. What is the type's own is in packages pvh and pv.
package create

import (
	"context"
	"fmt"

	"nidus/kernel/domain"
	"nidus/kernel/xenstore"
	"nidus/mm"
	"nidus/personalities/image"
)

// Config is what a domain is made of, besides domain.Params.
type Config struct {
	domain.Params
	Name        string
	Memory      uint64 // bytes at the start
	MaxMemory   uint64 // bytes that it can have
	OnlineVCPUs int
	Kernel      *image.Kernel
	Cmdline     string
	Modules     []image.Module // the first is the ramdisk
	// Progress hears how much of the memory is there, in bytes; may be nil. Its error
	// ends the making.
	Progress func(done, all uint64) error
	// Published is called when others are about to see the domain's number; may be nil.
	Published func()
}

// Domain makes the domain of c.Params and lets fill give it the rest. If that fails
// nothing is left.
func (c *Config) Domain(h *domain.Host, fill func(*domain.Domain) error) (*domain.Domain, error) {
	d, err := domain.New(h, c.Params)
	if err != nil {
		return nil, err
	}
	if err := fill(d); err != nil {
		if e := d.Destroy(); e != nil {
			return nil, fmt.Errorf("%w (and then: %v)", err, e)
		}
		return nil, err
	}
	return d, nil
}

// Populated tells Progress that done bytes of the memory are there. Its error, or the
// context's, is to end the making.
func (c *Config) Populated(ctx context.Context, done uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.Progress == nil {
		return nil
	}
	return c.Progress(done, c.Memory)
}

// Rings are a domain's ends of its console and its store: the frames of the rings and the
// event channels.
type Rings struct {
	Console, Store         mm.GFN
	ConsolePort, StorePort uint32
}

// Connect makes the rings in two frames, which are memory of the domain. From here on
// others may see the domain.
func (c *Config) Connect(d *domain.Domain, console, store mm.GFN) (Rings, error) {
	if c.Published != nil {
		c.Published()
	}
	r := Rings{Console: console, Store: store}
	var err error
	r.ConsolePort, r.StorePort, err = d.Connect(console, store)
	return r, err
}

// Publish writes what xenstore says of the domain.
func (c *Config) Publish(ctx context.Context, d *domain.Domain, r Rings) error {
	nodes := xenstore.DomainPaths{
		Dom: d.ID, Name: c.Name, UUID: d.UUIDString(), TargetKiB: c.Memory >> 10, StaticMaxKiB: c.MaxMemory >> 10,
		VCPUs: c.OnlineVCPUs, MaxVCPUs: c.VCPUs, ConsolePort: r.ConsolePort, ConsoleRef: uint64(r.Console),
		StorePort: r.StorePort, StoreRef: uint64(r.Store),
	}
	conn := d.Host.Store.Open(0)
	defer conn.Close()
	return nodes.Write(ctx, conn)
}
