// Package core holds what outlives the control plane: the domains, with their
// names and configurations, and the boot modules. It makes and unmakes domains
// whole: whatever is cancelled half-way leaves nothing.
package core

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nidus/drivers/block/ram"
	"nidus/kernel/domain"
	"nidus/kernel/xenstore"
	"nidus/mm"
	"nidus/personalities/image"
	"nidus/rpc/authorized"
	"nidus/rpc/control"
)

// Limits of the host.
const (
	// MaxDomains bounds the domains at a time.
	MaxDomains = 256
	// MaxVCPUs bounds the vcpus of all domains: each needs a thread.
	MaxVCPUs = 512
	// kernelCache bounds the unpacked kernels that are kept, in bytes.
	kernelCache = 192 << 20
	// maxMemory bounds a domain's memory, in bytes.
	maxMemory = 1 << 46
)

// Module is a file that the boot loader brought along.
type Module struct {
	Name, Args string
	Data       []byte // never written
}

// Entry is a domain as the core knows it.
type Entry struct {
	*domain.Domain
	mu     sync.Mutex
	name   string
	config control.DomainConfig
	next   *control.DomainConfig // see SetConfig; may be nil
	taken  bool                  // see TakeEnd
	disks  disks
	vifs   vifs
	// special is how many pages come with the domain beside its memory, which the quota
	// has too.
	special uint64
	// release lets go of the uploaded files of what a restart makes the domain from;
	// once gone is set, it has been called.
	release func()
	gone    bool
}

// TakeEnd is true once: for the control plane that acts on the domain's end.
func (e *Entry) TakeEnd() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := !e.taken
	e.taken = true
	return first
}

// Name returns the domain's name.
func (e *Entry) Name() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.name
}

// Config returns what the domain was made from, with the changes made since.
func (e *Entry) Config() control.DomainConfig {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.config
	c.Name = e.name
	return c
}

// Core is the one of the host.
type Core struct {
	Host    *domain.Host
	Modules []Module
	// CPUs is how many the host has.
	CPUs int
	// NestedCPUs is the set of those that guests with nested paging, all but PV, run on: all,
	// unless changed before the first domain.
	NestedCPUs uint64
	// Spare is whether to leave a guest costs so much that the host's threads had better wait for a moment than
	// interrupt it, and look for what it sends than have it send an event.
	Spare bool
	// Hide7B are features of CPUID leaf 7, EBX, that no guest is offered.
	Hide7B uint32
	// VCPUsChanged is told how many vcpus there are; may be nil.
	VCPUsChanged func(n int)
	// Clients are those that may connect over the network.
	Clients *authorized.List
	// FilesChanged is told how many bytes the uploaded files have; may be nil.
	FilesChanged func(bytes int64)
	// Point is called at named steps of what can be cancelled; a test makes the
	// control plane die there. May be nil.
	Point func(name string)
	// StopLimit is how long a domain has to power off when the host ends, unless the
	// request says so; 0 is control.DefaultStopLimit.
	StopLimit time.Duration

	// Data is the data partition, whose files are named /data/...; nil: there is none.
	Data Volume
	// ParseDisk parses an element of disk=; nil: there are no disks.
	ParseDisk func(spec string) (DiskSpec, error)
	// ParseVIF parses an element of vif=; nil: there are no interfaces.
	ParseVIF func(spec string) (VIFSpec, error)
	// VIFJoins is told of each interface that is about to join its bridge, of a domain
	// that name names; it may change the guard. left, if it isn't nil, is called when the
	// interface is gone. May be nil.
	VIFJoins func(s *VIFSpec, name func() string) (left func())

	kernels *image.Cache
	files   files
	blocks  blocks
	// promises are the memory that disks in memory may yet take.
	promises ram.Promises
	nics     nics
	bridges  bridges
	watcher  atomic.Pointer[func(*Entry)]
	trims    atomic.Int32 // asked for since the last one began

	mu      sync.Mutex
	domains map[mm.DomID]*Entry
	claims  map[mm.DomID]claim // domains being made or unmade
	next    mm.DomID
	ending  *Ending // nil: the host goes on
	vcpus   int
	groups  [MaxDomains]bool // of package sched, in use
}

// claim is what a domain that is being made or unmade keeps others from using.
type claim struct {
	name string // "" once it is being destroyed: the name is free then
	uuid control.UUID
}

// New makes a core without domains.
func New(h *domain.Host, modules []Module, cpus int) *Core {
	const reserve = 16 << 20 // of memory, for the host itself
	c := &Core{
		Host: h, Modules: modules, CPUs: cpus, NestedCPUs: 1<<cpus - 1, kernels: image.NewCache(kernelCache),
		Clients: &authorized.List{},
		domains: map[mm.DomID]*Entry{}, claims: map[mm.DomID]claim{}, next: 1,
	}
	c.promises.Free = func() uint64 { return max(h.Memory.Stats().Free*mm.PageSize, reserve) - reserve }
	return c
}

// Domains returns all of them by number.
func (c *Core) Domains() []*Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*Entry
	for _, e := range c.domains {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *Entry) int { return int(a.ID) - int(b.ID) })
	return all
}

// Domain returns one domain.
func (c *Core) Domain(id mm.DomID) (*Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.domains[id]; e != nil {
		return e, nil
	}
	return nil, control.Errorf(control.ErrNoDomain, "there is no domain %d; \"list\" shows those that there are", id)
}

// Lookup returns the domain of a name, or nil.
func (c *Core) Lookup(name string) *Entry {
	for _, e := range c.Domains() {
		if e.Name() == name {
			return e
		}
	}
	return nil
}

// Pass is a step at which the control plane can be made to die. The error is that
// of ctx, if it has ended.
func (c *Core) Pass(ctx context.Context, name string) error {
	if c.Point != nil {
		c.Point(name)
	}
	return ctx.Err()
}

// OnCreate makes fn, the newest control plane's, what Watch calls.
func (c *Core) OnCreate(fn func(*Entry)) { c.watcher.Store(&fn) }

// Watch gives a new domain to the newest control plane, which may be another than
// the one that created it.
func (c *Core) Watch(e *Entry) {
	if fn := c.watcher.Load(); fn != nil {
		(*fn)(e)
	}
}

// reserve takes a number, a name and vcpus for a domain that is to be made.
func (c *Core) reserve(cfg *control.DomainConfig) (id mm.DomID, group uint16, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != nil {
		return 0, 0, errEnding
	}
	for id, o := range c.claims {
		if o.name == cfg.Name {
			return 0, 0, control.Errorf(control.ErrExists, "a domain %q is being created", cfg.Name)
		}
		if cfg.UUID != (control.UUID{}) && o.uuid == cfg.UUID {
			return 0, 0, control.Errorf(control.ErrExists, "the uuid %s is that of domain %d, which is being created or destroyed", cfg.UUID, id)
		}
	}
	for _, e := range c.domains {
		if e.Name() == cfg.Name {
			return 0, 0, control.Errorf(control.ErrExists, "the name %q is taken by domain %d; rename one of them", cfg.Name, e.ID)
		}
		if cfg.UUID != (control.UUID{}) && e.UUID == cfg.UUID {
			return 0, 0, control.Errorf(control.ErrExists, "the uuid %s is taken by domain %d (%s); leave uuid= out to get a new one", cfg.UUID, e.ID, e.Name())
		}
	}
	if len(c.domains)+len(c.claims) >= MaxDomains {
		return 0, 0, control.Errorf(control.ErrNoMemory, "%d domains are the most that there can be", MaxDomains)
	}
	if c.vcpus+cfg.MaxVCPUs > MaxVCPUs {
		return 0, 0, control.Errorf(control.ErrNoMemory, "%d vcpus more are too many: %d of %d are in use", cfg.MaxVCPUs, c.vcpus, MaxVCPUs)
	}
	c.vcpus += cfg.MaxVCPUs
	if c.VCPUsChanged != nil {
		c.VCPUsChanged(c.vcpus)
	}
	for c.next == 0 || c.inUse(c.next) {
		c.next = (c.next + 1) % mm.DomIDFirstReserved
	}
	id = c.next
	c.next = (c.next + 1) % mm.DomIDFirstReserved
	if cfg.UUID == (control.UUID{}) {
		rand.Read(cfg.UUID[:])
		cfg.UUID[6] = cfg.UUID[6]&0x0f | 0x40 // version 4 (RFC 9562, 5.4)
		cfg.UUID[8] = cfg.UUID[8]&0x3f | 0x80
	}
	c.claims[id] = claim{cfg.Name, cfg.UUID}
	for c.groups[group] { // there are as many as domains
		group++
	}
	c.groups[group] = true
	return id, group, nil
}

// unreserve gives a number back that nobody has seen, if no later one was taken
// since: it would come again sooner than others expect. c.mu is held.
func (c *Core) unreserve(id mm.DomID) {
	if c.next == (id+1)%mm.DomIDFirstReserved {
		c.next = id
	}
}

// inUse tells whether a number is a domain's. c.mu is held.
func (c *Core) inUse(id mm.DomID) bool {
	_, claimed := c.claims[id]
	return claimed || c.domains[id] != nil
}

// release gives vcpus and a group back. c.mu is held.
func (c *Core) release(vcpus int, group uint16) {
	c.groups[group] = false
	c.vcpus -= vcpus
	if c.VCPUsChanged != nil {
		c.VCPUsChanged(c.vcpus)
	}
}

// Destroy ends a domain and forgets it.
func (c *Core) Destroy(id mm.DomID) error {
	c.mu.Lock()
	e := c.domains[id]
	delete(c.domains, id)
	if e != nil { // until its nodes are gone, nobody else may have number and uuid
		c.claims[id] = claim{uuid: control.UUID(e.UUID)}
	}
	c.mu.Unlock()
	if e == nil {
		return control.Errorf(control.ErrNoDomain, "there is no domain %d", id)
	}
	return c.unmake(e)
}

func (c *Core) unmake(e *Entry) error {
	err := e.Destroy()
	err2 := c.removeNodes(e)
	e.mu.Lock()
	e.gone = true
	e.mu.Unlock()
	e.release()
	c.Host.Log.Forget(e.ID)
	c.mu.Lock()
	delete(c.claims, e.ID)
	c.release(len(e.VCPUs), e.VCPUs[0].Sched().Group)
	c.mu.Unlock()
	c.trim()
	if err != nil || err2 != nil {
		return control.Errorf(control.ErrInternal, "domain %d is gone, but not all that it had: %v %v", e.ID, err, err2)
	}
	return nil
}

// removeNodes removes the domain's xenstore nodes. The control plane may be dying:
// this is not to be cancelled with it.
func (c *Core) removeNodes(e *Entry) error {
	conn := c.Host.Store.Open(0)
	defer conn.Close()
	return xenstore.DomainPaths{Dom: e.ID, Name: e.Name(), UUID: control.UUID(e.UUID).String()}.Remove(context.Background(), conn)
}

// Rename changes a domain's name.
func (c *Core) Rename(id mm.DomID, name string) error {
	if err := control.CheckName(name); err != nil {
		return err
	}
	e, err := c.Domain(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.domains[id] != e { // its nodes are being removed
		return control.Errorf(control.ErrNoDomain, "domain %d is being destroyed", id)
	}
	for _, o := range c.domains {
		if o != e && o.Name() == name {
			return control.Errorf(control.ErrExists, "the name %q is taken by domain %d", name, o.ID)
		}
	}
	for _, o := range c.claims {
		if o.name == name {
			return control.Errorf(control.ErrExists, "a domain %q is being created", name)
		}
	}
	conn := c.Host.Store.Open(0)
	defer conn.Close()
	// Half a rename is none: it is not to be cancelled with the control plane.
	err = conn.Transact(context.Background(), func(t *xenstore.Tx) error {
		return errors.Join(t.Write(xenstore.DomainPath(id)+"/name", name), t.Write("/vm/"+control.UUID(e.UUID).String()+"/name", name))
	})
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.name = name
	return nil
}

// VCPUs returns how many there are.
func (c *Core) VCPUs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.vcpus
}
