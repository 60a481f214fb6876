package control

import "time"

// HostInfo describes the machine and the hypervisor: the fields of xl info.
type HostInfo struct {
	Hostname string `json:"host"`
	// Release, Version and Machine are those of uname(1) in domain 0, or of
	// Nidus if domain 0 is the embedded one.
	Release string `json:"release"`
	Version string `json:"version"`
	Machine string `json:"machine"`

	CPUs           int    `json:"nr_cpus"` // online
	MaxCPUID       int    `json:"max_cpu_id"`
	Nodes          int    `json:"nr_nodes"`
	CoresPerSocket int    `json:"cores_per_socket"`
	ThreadsPerCore int    `json:"threads_per_core"`
	CPUHz          uint64 `json:"cpu_hz"`
	// HWCaps are the CPUID feature words in the order of xl info.
	HWCaps   [8]uint32 `json:"hw_caps"`
	VirtCaps []string  `json:"virt_caps"` // pv, hvm, hap, ...

	TotalMemoryBytes uint64 `json:"total_memory_bytes"`
	FreeMemoryBytes  uint64 `json:"free_memory_bytes"`
	FreeCPUs         int    `json:"free_cpus"`

	// The version of Xen whose ABI guests see.
	XenMajor       int      `json:"xen_major"`
	XenMinor       int      `json:"xen_minor"`
	XenExtra       string   `json:"xen_extra"`
	XenCaps        []string `json:"xen_caps"`
	Scheduler      string   `json:"xen_scheduler"`
	PageSizeBytes  int      `json:"xen_pagesize"`
	PlatformParams string   `json:"platform_params"`
	Changeset      string   `json:"xen_changeset"`
	CommandLine    string   `json:"xen_commandline"`
	Compiler       string   `json:"cc_compiler"`
	CompileBy      string   `json:"cc_compile_by"`
	CompileDomain  string   `json:"cc_compile_domain"`
	CompileDate    string   `json:"cc_compile_date"`
	BuildID        string   `json:"build_id"`

	Uptime time.Duration `json:"uptime_ns"`

	// Addresses are those that the host has in its network, with that network's bits:
	// 10.0.2.15/24.
	Addresses []string `json:"addresses"`
}

// Module is a file that the boot loader brought along.
type Module struct {
	// Name is what other calls take: the file's name as the loader gave it.
	Name string `json:"name"`
	// Args is the rest of the module's line.
	Args string `json:"args"`
	Size int64  `json:"size_bytes"`
}

// VCPUInfo is what a vcpu is at one moment.
type VCPUInfo struct {
	ID     int  `json:"vcpu"`
	Online bool `json:"online"`
	// CPU is where it runs or last ran, -1 if nowhere yet.
	CPU     int           `json:"cpu"`
	Running bool          `json:"running"`
	Blocked bool          `json:"blocked"`
	Time    time.Duration `json:"time_ns"`
	Hard    CPUSet        `json:"hard"`
	Soft    CPUSet        `json:"soft"`
}

// AllVCPUs stands for every vcpu of a domain.
const AllVCPUs = -1

// SchedParams is a domain's share of the CPUs.
type SchedParams struct {
	// Weight is relative to other domains', 1 to 65535; 256 is the default.
	Weight int `json:"weight"`
	// CapPercent limits the domain to that much of one CPU (200: two CPUs);
	// 0 is no limit.
	CapPercent int `json:"cap_percent"`
}

// Bounds and defaults of SchedParams (xl.cfg(5), CPU Scheduling).
const (
	DefaultWeight = 256
	MaxWeight     = 65535
	MaxCapPercent = 65535
)

// Check returns ErrBadArgument if p is out of bounds.
func (p SchedParams) Check() error {
	if p.Weight < 1 || p.Weight > MaxWeight {
		return Errorf(ErrBadArgument, "weight %d is out of range; use 1 to %d (%d is the default)", p.Weight, MaxWeight, DefaultWeight)
	}
	if p.CapPercent < 0 || p.CapPercent > MaxCapPercent {
		return Errorf(ErrBadArgument, "cap %d is out of range; use 0 (no cap) to %d percent of one CPU", p.CapPercent, MaxCapPercent)
	}
	return nil
}
