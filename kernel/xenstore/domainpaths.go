package xenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"nidus/mm"
)

// DomainPaths is what the toolstack knows of a domain, as the nodes that its
// guest expects to find (xenstore-paths.pandoc, "Domain Path" and "/vm").
type DomainPaths struct {
	Dom          mm.DomID
	Name         string
	UUID         string // canonical text form
	TargetKiB    uint64 // memory/target
	StaticMaxKiB uint64 // memory/static-max
	VCPUs        int    // online at first; the other ones up to MaxVCPUs are offline
	MaxVCPUs     int
	ConsolePort  uint32 // event channel port in the guest
	ConsoleRef   uint64 // frame of the console ring
	ConsoleTTY   string
	StorePort    uint32
	StoreRef     uint64
	Boot         string // start time, as text; may be empty
}

// consoleLimit is the console backlog that xl announces, in bytes.
const consoleLimit = 1 << 20

// Write makes the domain's nodes, in one transaction. The guest may read all of
// them and write those that the paths document gives it.
func (d DomainPaths) Write(ctx context.Context, c *Conn) error {
	err := c.Transact(ctx, func(t *Tx) error { return d.write(t) })
	if err != nil {
		return fmt.Errorf("nodes of domain %d (%s): %w", d.Dom, d.Name, err)
	}
	return nil
}

func (d DomainPaths) write(t Nodes) error {
	home, vm := DomainPath(d.Dom), "/vm/"+d.UUID
	readOnly := []Perm{{0, AccessNone}, {d.Dom, AccessRead}}
	guests := []Perm{{d.Dom, AccessNone}}
	var errs []error
	do := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	dir := func(path string, perms []Perm) {
		do(t.Mkdir(path))
		do(t.SetPerms(path, perms...))
	}
	set := func(path, value string) { do(t.Write(path, value)) }
	num := func(path string, n uint64) { set(path, strconv.FormatUint(n, 10)) }

	// What is below takes the permissions of its parent, so the order matters:
	// first the directories, then the values.
	dir(vm, readOnly)
	set(vm+"/uuid", d.UUID)
	set(vm+"/name", d.Name)
	if d.Boot != "" {
		set(vm+"/start_time", d.Boot)
	}

	dir(home, readOnly)
	set(home+"/vm", vm)
	set(home+"/name", d.Name)
	num(home+"/domid", uint64(d.Dom))
	num(home+"/memory/target", d.TargetKiB)
	num(home+"/memory/static-max", d.StaticMaxKiB)
	for i := range max(d.VCPUs, d.MaxVCPUs) {
		state := "offline"
		if i < d.VCPUs {
			state = "online"
		}
		set(fmt.Sprintf("%s/cpu/%d/availability", home, i), state)
	}
	num(home+"/store/port", uint64(d.StorePort))
	num(home+"/store/ring-ref", d.StoreRef)

	num(home+"/console/port", uint64(d.ConsolePort))
	num(home+"/console/ring-ref", d.ConsoleRef)
	num(home+"/console/limit", consoleLimit)
	num(home+"/console/backend-id", 0)
	set(home+"/console/type", "xenconsoled")
	set(home+"/console/output", "pty")
	set(home+"/console/tty", d.ConsoleTTY)

	num(home+"/control/platform-feature-multiprocessor-suspend", 1)
	num(home+"/control/platform-feature-xs_reset_watches", 1)
	for _, p := range []string{
		"/control/shutdown", "/control/sysrq", "/control/feature-poweroff",
		"/control/feature-reboot", "/control/feature-halt", "/control/feature-suspend",
		"/device/suspend/event-channel", "/data", "/drivers", "/feature", "/attr", "/error",
	} {
		dir(home+p, guests)
	}
	dir(home+"/device", readOnly)
	dir(home+"/device/suspend", readOnly)
	return errors.Join(errs...)
}

// Remove takes the domain's nodes away again, whatever the guest put below
// them, and everything else that it owns or may reach. Nodes that are gone are
// no error. Release the domain first.
func (d DomainPaths) Remove(ctx context.Context, c *Conn) error {
	defer c.c.s.purge(d.Dom)
	return c.Transact(ctx, func(t *Tx) error {
		for _, p := range []string{DomainPath(d.Dom), "/vm/" + d.UUID} {
			if err := t.Rm(p); err != nil && !errors.Is(err, ENOENT) {
				return err
			}
		}
		return nil
	})
}

// purge removes what a domain owns and strikes it out of all permissions, so
// that the next domain with its number inherits nothing.
func (s *Store) purge(dom mm.DomID) {
	if dom == 0 {
		return
	}
	s.lock()
	defer s.unlock()
	left := func(perms []Perm) []Perm {
		return slices.DeleteFunc(slices.Clone(perms), func(p Perm) bool { return p.Dom == dom })
	}
	v := view{s: s, root: s.root}
	var visit func(path string, n *node)
	visit = func(path string, n *node) {
		if n.perms[0].Dom == dom && path != "/" {
			v.rm(cred{priv: true}, path)
			return
		}
		if p := left(n.perms); len(p) > 0 && len(p) < len(n.perms) {
			v.setPerms(cred{priv: true}, path, p)
		}
		for _, k := range n.kids {
			visit(join(path, k.name), k)
		}
	}
	visit("/", s.root)
	for name, perms := range s.specials {
		if p := left(perms); len(p) > 0 {
			s.specials[name] = p
		}
	}
	s.commit(&v)
}
