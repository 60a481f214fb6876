package control

import (
	"strconv"
	"time"
)

// State is what a domain is doing: a set of bits. A domain that is none of
// them is runnable, and waits for a CPU.
type State uint8

// The bits of State (domctl.h, XEN_DOMINF_*).
const (
	// StateRunning: a vcpu is on a CPU.
	StateRunning State = 1 << iota
	// StateBlocked: all vcpus wait for events.
	StateBlocked
	// StatePaused: stopped by Pause.
	StatePaused
	// StateShutdown: the guest has shut down; ShutdownReason says why.
	StateShutdown
	// StateDying: being taken apart.
	StateDying
)

// ShutdownReason is why a guest shut down (sched.h, SHUTDOWN_*).
type ShutdownReason uint8

// The reasons.
const (
	ShutdownPowerOff ShutdownReason = iota
	ShutdownReboot
	ShutdownSuspend
	ShutdownCrash
	ShutdownWatchdog
	ShutdownSoftReset
)

var reasonNames = [...]string{"poweroff", "reboot", "suspend", "crash", "watchdog", "soft-reset"}

// String names the reason as xl does.
func (r ShutdownReason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "reason " + strconv.Itoa(int(r))
}

// MarshalText is String.
func (r ShutdownReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// DomainInfo is what a domain is at one moment.
type DomainInfo struct {
	ID   DomID      `json:"domid"`
	Name string     `json:"name"`
	UUID UUID       `json:"uuid"`
	Type DomainType `json:"type"`
	// State and, if StateShutdown is in it, Reason.
	State  State          `json:"-"`
	Reason ShutdownReason `json:"-"`
	// MemoryBytes is what the domain has, MaxMemoryBytes what it may get.
	MemoryBytes    uint64 `json:"memory_bytes"`
	MaxMemoryBytes uint64 `json:"max_memory_bytes"`
	// VCPUs is how many are online, MaxVCPUs how many there can be.
	VCPUs    int `json:"vcpus"`
	MaxVCPUs int `json:"max_vcpus"`
	// CPUTime is the time that all vcpus together spent running.
	CPUTime time.Duration `json:"cpu_time_ns"`
	// Uptime is the time since the domain was created.
	Uptime time.Duration `json:"uptime_ns"`
}

// StateString is the State column of xl list: r, b, p, s, c, d, or dashes.
func (d DomainInfo) StateString() string {
	b := []byte("------")
	for i, bit := range [...]State{StateRunning, StateBlocked, StatePaused, StateShutdown, 0, StateDying} {
		if d.State&bit != 0 {
			b[i] = "rbpscd"[i]
		}
	}
	if d.State&StateShutdown != 0 && d.Reason == ShutdownCrash {
		b[4] = 'c'
	}
	return string(b)
}

// CreateOptions says how to start a domain.
type CreateOptions struct {
	// Paused leaves the domain paused after it is made.
	Paused bool
}

// ShutdownOptions says how to ask a guest to stop.
type ShutdownOptions struct {
	// Fallback sends an ACPI power event (or a reset) to a guest that
	// doesn't watch control/shutdown.
	Fallback bool
}

// ConsoleOptions says which console to attach, and how.
type ConsoleOptions struct {
	// Num is the console's number; 0 is the one that a guest has at boot.
	Num int
	// History replays what the console's buffer still holds.
	History bool
}

// Trigger is an event to inject (domctl.h, XEN_DOMCTL_SENDTRIGGER_*).
type Trigger uint8

// The triggers.
const (
	TriggerNMI Trigger = iota
	TriggerReset
	TriggerInit
	TriggerPower
	TriggerSleep
	TriggerS3Resume
)

var triggerNames = [...]string{"nmi", "reset", "init", "power", "sleep", "s3resume"}

// String names the trigger as xl does.
func (t Trigger) String() string {
	if int(t) < len(triggerNames) {
		return triggerNames[t]
	}
	return "trigger " + strconv.Itoa(int(t))
}

// ParseTrigger is String's inverse.
func ParseTrigger(s string) (Trigger, error) {
	for i, n := range triggerNames {
		if n == s {
			return Trigger(i), nil
		}
	}
	return 0, Errorf(ErrBadArgument, "unknown trigger %q; use nmi, reset, init, power, sleep or s3resume", s)
}

// EventKind is what happened to a domain.
type EventKind uint8

// The kinds of events.
const (
	EventCreated EventKind = iota + 1
	EventDestroyed
	EventShutdown // Reason is set
	EventPaused
	EventUnpaused
	EventRenamed
	EventLost // events were dropped: look at the state again
	// What it is to have, or may have at most, was changed.
	EventMemory
	EventMaxMemory
	EventVCPUs
)

// Event is something that happened to a domain.
type Event struct {
	Kind   EventKind
	ID     DomID
	Name   string
	Reason ShutdownReason
	// At is the host's uptime when it happened.
	At time.Duration
}
