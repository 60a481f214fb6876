package control

import (
	"context"
	"time"
)

// Resources is what a machine has, and how much of it a domain gets.
type Resources interface {
	// CPUs describes each CPU of the host, by number.
	CPUs(ctx context.Context) ([]CPUInfo, error)
	// Memory says where the host's memory is.
	Memory(ctx context.Context) (MemoryInfo, error)
	// Scheduler describes how CPU time is shared.
	Scheduler(ctx context.Context) (SchedulerInfo, error)

	// SetMemory asks the guest's balloon driver to bring the domain to that
	// many bytes (memory/target in xenstore), and doesn't wait. ErrBadArgument
	// for less than MinMemory or more than the domain's MaxMemoryBytes.
	SetMemory(ctx context.Context, id DomID, bytes uint64) error
	// SetMaxMemory limits what the domain can get. ErrBadArgument for less
	// than it is asked to have now.
	SetMaxMemory(ctx context.Context, id DomID, bytes uint64) error
	// SetVCPUs asks the guest to have the vcpus 0 to n-1 online and the others
	// not (cpu/N/availability in xenstore), and doesn't wait. ErrBadArgument
	// unless n is 1 to the domain's MaxVCPUs.
	SetVCPUs(ctx context.Context, id DomID, n int) error
}

// MinMemory is the least that SetMemory takes, in bytes.
const MinMemory = 1 << 20

// CPUInfo is what a CPU of the host is at one moment.
type CPUInfo struct {
	ID     int  `json:"cpu"`
	Online bool `json:"online"`
	// Where it is; NUMA nodes, sockets, cores of a socket and threads of a core
	// count from 0.
	Node   int `json:"node"`
	Socket int `json:"socket"`
	Core   int `json:"core"`
	Thread int `json:"thread"`
	// Idle is how long it had nothing to do since the host started.
	Idle time.Duration `json:"idle_ns"`
}

// MemoryInfo is where the host's memory is at one moment. What is missing from
// the total is boot modules, and what belongs to nobody yet.
type MemoryInfo struct {
	TotalBytes uint64 `json:"total_bytes"`
	// FreeBytes is what new domains can have.
	FreeBytes uint64 `json:"free_bytes"`
	// GuestBytes is what domains have, HypervisorBytes what Nidus itself uses.
	GuestBytes      uint64 `json:"guest_bytes"`
	HypervisorBytes uint64 `json:"hypervisor_bytes"`
}

// SchedulerInfo describes the scheduler.
type SchedulerInfo struct {
	// Name is what HostInfo says too.
	Name string `json:"name"`
	// DefaultWeight and MaxWeight bound SchedParams.Weight.
	DefaultWeight int `json:"default_weight"`
	MaxWeight     int `json:"max_weight"`
	// MaxCapPercent bounds SchedParams.CapPercent.
	MaxCapPercent int `json:"max_cap_percent"`
	// VCPUs is how many vcpus all domains have.
	VCPUs int `json:"vcpus"`
}
