package evtchn

import (
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Notifier learns that a vcpu has something to look at: an upcall became
// pending, or a port that it polls did. It is called from any goroutine, may be
// called without need, must not block and must not allocate. A device's event, one that a
// local port sent, may wait for a moment while the vcpu is busy.
type Notifier interface {
	NotifyVCPU(vcpu int, device bool)
}

// Hub knows every domain that has event channels. The zero Hub is empty and
// ready.
type Hub struct {
	mu      sync.RWMutex
	domains map[mm.DomID]*Domain
	seq     uint64
}

// DefaultMaxPorts is the highest port number that a domain gets if its
// configuration names none (xl.cfg, max_event_channels).
const DefaultMaxPorts = 1023

// maxVCPUs bounds a domain's vcpus; HVM guests of Xen have at most 128.
const maxVCPUs = 4096

// Config describes a domain to NewDomain.
type Config struct {
	ID    mm.DomID
	VCPUs int // 1 or more

	// Width is the guest's word size; 0 means xenabi.Guest64.
	Width xenabi.Width
	// MaxPorts is the highest port number, 0 for DefaultMaxPorts. The ABI in
	// use bounds it too: 4095 (2-level, 64-bit), 1023 (32-bit), 131071 (FIFO).
	MaxPorts uint32
	// Privileged domains may name others than themselves.
	Privileged bool
	// PV makes PendingUpcall honour the guest's upcall mask. Guests in hardware
	// containers hold interrupts off by other means.
	PV bool

	// SharedInfo is the domain's shared_info page, which outlives the domain's
	// event channels. The zero Page means that no guest runs here: only local
	// ports get events.
	SharedInfo mm.Page
	// Memory is where the guest registers pages; nil refuses that.
	Memory mm.GuestMemory
	// Notifier may be nil.
	Notifier Notifier
}

// NewDomain adds a domain without ports.
func (h *Hub) NewDomain(cfg Config) (*Domain, error) {
	if cfg.ID >= mm.DomIDFirstReserved {
		return nil, fmt.Errorf("event channels: domain number %d is reserved: %w", cfg.ID, xenabi.EINVAL)
	}
	if cfg.VCPUs < 1 || cfg.VCPUs > maxVCPUs {
		return nil, fmt.Errorf("event channels: domain %d: %d vcpus are not in 1 to %d: %w",
			cfg.ID, cfg.VCPUs, maxVCPUs, xenabi.EINVAL)
	}
	if cfg.Width == 0 {
		cfg.Width = xenabi.Guest64
	}
	if !cfg.Width.Valid() {
		return nil, fmt.Errorf("event channels: domain %d: word size %d is not 4 or 8: %w", cfg.ID, cfg.Width, xenabi.EINVAL)
	}
	if cfg.MaxPorts == 0 {
		cfg.MaxPorts = DefaultMaxPorts
	}
	cfg.MaxPorts = min(cfg.MaxPorts, xenabi.EvtchnFIFONrChannels-1)
	d := &Domain{
		cfg:    cfg,
		hub:    h,
		vcpus:  make([]vcpu, cfg.VCPUs),
		chunks: make([]atomic.Pointer[chunk], cfg.MaxPorts/chunkPorts+1),
		used:   make([]uint64, cfg.MaxPorts/64+1),
	}
	d.layout.Store(xenabi.SharedInfoOf(cfg.Width))
	d.used[0] = 1 // port 0 is never given away: guests take it for "none"
	d.placeVCPUInfo()

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.domains[cfg.ID] != nil {
		return nil, fmt.Errorf("event channels: domain %d exists already: %w", cfg.ID, xenabi.EEXIST)
	}
	if h.domains == nil {
		h.domains = make(map[mm.DomID]*Domain)
	}
	h.seq++
	d.seq = h.seq
	h.domains[cfg.ID] = d
	return d, nil
}

// Domain returns the domain of that number, or nil.
func (h *Hub) Domain(id mm.DomID) *Domain {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.domains[id]
}

func (h *Hub) remove(d *Domain) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.domains[d.cfg.ID] == d {
		delete(h.domains, d.cfg.ID)
	}
}
