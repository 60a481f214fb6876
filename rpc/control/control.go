// Package control is the contract between who manages domains (the shell, the
// xl command) and the control plane, as plain Go. Packages rpc/server and rpc/client carry exactly
// these calls, by the schema in rpc/nidus.proto. So every argument and result is plain data without
// pointers to live state, every call takes a context, and every error that a
// caller decides on has a Code that survives the wire.
//
// Names and meanings follow xl(1) and xl.cfg(5) of Xen 4.17; numbers are those
// of Xen's public headers (xen.h, sched.h, domctl.h).
package control

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// DomID is a domain's number (xen.h, domid_t).
type DomID uint16

// MaxDomID is the last number that an ordinary domain can have (xen.h,
// DOMID_FIRST_RESERVED - 1).
const MaxDomID DomID = 0x7fef

// Plane is the control plane. All methods are safe for use by any number of
// goroutines. A method that names a domain fails with ErrNoDomain if there is
// none; one that a Plane doesn't have yet fails with ErrNotYet; one that its
// context ends fails with the context's error.
type Plane interface {
	Resources
	Devices
	Store
	Files
	Remote

	// HostInfo describes the machine and the hypervisor.
	HostInfo(ctx context.Context) (HostInfo, error)
	// Dmesg returns the hypervisor's log, oldest line first, and empties it
	// if clear is set.
	Dmesg(ctx context.Context, clear bool) ([]byte, error)
	// DebugKeys does what each of Xen's debug keys does; the output goes to
	// the hypervisor's log. ErrBadArgument names a key without meaning.
	DebugKeys(ctx context.Context, keys string) error
	// PowerOff asks the domains to power off, one after another, the newest first,
	// destroys those that don't, and then turns the machine off. It goes on whatever
	// becomes of ctx and the stream. From now on nothing can be created (ErrBadState).
	// Asked for again, it destroys at once what is left; the last request's kind counts.
	PowerOff(ctx context.Context, opt HostEndOptions) (HostEndStream, error)
	// HostReboot does the same, and then resets the machine.
	HostReboot(ctx context.Context, opt HostEndOptions) (HostEndStream, error)

	// ListDomains returns all domains by ascending number. Domain 0 is there,
	// and so first, even if it is the embedded one: scripts count lines.
	ListDomains(ctx context.Context) ([]DomainInfo, error)
	// Domain finds a domain by its number, if ref is all digits, or by name.
	Domain(ctx context.Context, ref string) (DomainInfo, error)
	// DomainConfig returns what the domain was created from, with the changes
	// made since.
	DomainConfig(ctx context.Context, id DomID) (DomainConfig, error)
	// Create makes and starts a domain. Paths in cfg are the host's (boot
	// modules, data partition). Nothing stays behind if it fails: ErrExists
	// (name or uuid), ErrNoMemory, ErrNoFile, ErrBadKernel, ErrBadConfig. It tells
	// the context's WithProgress how far it is.
	Create(ctx context.Context, cfg DomainConfig, opt CreateOptions) (DomID, error)
	// SetConfig changes what the domain is made of at its next restart; what runs
	// stays as it is. It keeps its name, and its uuid: another one is ErrBadConfig.
	// Otherwise it fails as Create does.
	SetConfig(ctx context.Context, id DomID, cfg DomainConfig) error
	// Destroy ends a domain at once and frees what it has.
	Destroy(ctx context.Context, id DomID) error
	// Rename changes a domain's name. ErrExists, ErrBadArgument.
	Rename(ctx context.Context, id DomID, name string) error

	// Pause keeps all of the domain's vcpus from running. It doesn't count:
	// one Unpause ends it, as with xl.
	Pause(ctx context.Context, id DomID) error
	// Unpause ends Pause.
	Unpause(ctx context.Context, id DomID) error
	// Shutdown asks the guest to power off (control/shutdown in xenstore) and
	// doesn't wait. ErrNoResponse if the guest doesn't watch that node, and
	// opt has no fallback or the guest nothing to fall back to.
	Shutdown(ctx context.Context, id DomID, opt ShutdownOptions) error
	// Reboot asks the guest to reboot; otherwise as Shutdown.
	Reboot(ctx context.Context, id DomID, opt ShutdownOptions) error
	// Sysrq sends a magic system request, one letter, through control/sysrq.
	// ErrBadArgument if it is no printable character of ASCII.
	Sysrq(ctx context.Context, id DomID, letter byte) error
	// Trigger injects a hardware-like event into one vcpu.
	Trigger(ctx context.Context, id DomID, t Trigger, vcpu int) error

	// VCPUList describes each vcpu that the domain can have, by number.
	VCPUList(ctx context.Context, id DomID) ([]VCPUInfo, error)
	// VCPUPin sets where a vcpu, or AllVCPUs, may run (hard) and better runs
	// (soft). A nil set leaves that affinity alone; an empty hard set, or one
	// without a CPU that is online, is ErrBadArgument.
	VCPUPin(ctx context.Context, id DomID, vcpu int, hard, soft CPUSet) error
	// SchedCredit2 returns the domain's share of the CPUs.
	SchedCredit2(ctx context.Context, id DomID) (SchedParams, error)
	// SetSchedCredit2 changes it. ErrBadArgument if p.Check fails.
	SetSchedCredit2(ctx context.Context, id DomID, p SchedParams) error

	// ConsoleAttach opens a domain's console. ErrBusy if someone else has it.
	ConsoleAttach(ctx context.Context, id DomID, opt ConsoleOptions) (Console, error)
	// Events opens a stream of what happens to domains from now on.
	Events(ctx context.Context) (EventStream, error)

	// Modules lists the boot modules.
	Modules(ctx context.Context) ([]Module, error)
	// ReadModule copies out of a boot module, or a file of the data partition, from offset on, as io.ReaderAt
	// does: fewer bytes than len(p) come with io.EOF. ErrNoFile.
	ReadModule(ctx context.Context, name string, p []byte, offset int64) (int, error)
}

// Console is one attachment to a domain's console. Read gives history first (if
// asked for), then output as it comes; it blocks, and returns io.EOF when the
// domain is gone. Write blocks while the guest takes no input. Close, or the end
// of the context given to ConsoleAttach, unblocks both; from then on Write takes
// nothing and returns io.ErrClosedPipe, as it does when the domain is gone.
type Console interface{ io.ReadWriteCloser }

// EventStream delivers events in order. A reader that is too slow gets one
// EventLost instead of those it missed.
type EventStream interface {
	// Next waits for an event, or the context's end.
	Next(ctx context.Context) (Event, error)
	// Close ends the stream: from then on Next, also one that waits, returns
	// io.EOF.
	Close() error
}

// ReadAllModule returns a whole boot module, or file of the data partition, of at most
// limit bytes.
func ReadAllModule(ctx context.Context, p Plane, name string, limit int64) ([]byte, error) {
	mods, err := p.Modules(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range mods {
		if m.Name != name {
			continue
		}
		if m.Size > limit {
			return nil, Errorf(ErrTooBig, "module %s has %d bytes, more than the %d that make sense here: is it the right file?", name, m.Size, limit)
		}
		b := make([]byte, m.Size)
		n, err := p.ReadModule(ctx, name, b, 0)
		if err != nil && (err != io.EOF || int64(n) != m.Size) {
			return nil, fmt.Errorf("module %s: %w", name, err)
		}
		return b[:n], nil
	}
	if strings.HasPrefix(name, DataPrefix) {
		b := make([]byte, limit+1)
		n, err := p.ReadModule(ctx, name, b, 0)
		switch {
		case err != nil && err != io.EOF:
			return nil, err
		case int64(n) > limit:
			return nil, Errorf(ErrTooBig, "%s has more than the %d bytes that make sense here: is it the right file?", name, limit)
		}
		return b[:n], nil
	}
	return nil, Errorf(ErrNoFile, "no boot module %q; \"modules\" lists those that there are", name)
}
