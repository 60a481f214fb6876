package control

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// DomainType is how a domain meets the hardware.
type DomainType uint8

// The types; PV is the default, as in xl.cfg(5).
const (
	PV DomainType = iota
	PVH
	HVM
)

var typeNames = [...]string{"pv", "pvh", "hvm"}

// String is the word of a configuration file.
func (t DomainType) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// MarshalText is String.
func (t DomainType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// PVGrub64 and PVGrub32 are the firmware of PV guests (DomainConfig.Firmware): GRUB, which
// finds the kernel on the guest's own disk, for kernels of 64 bits and of 32.
const (
	PVGrub64 = "pvgrub64"
	PVGrub32 = "pvgrub32"
)

// Action is what to do with a domain that ended.
type Action uint8

// The actions of on_poweroff and its like (xl.cfg(5), Event Actions).
const (
	ActionDestroy Action = iota
	ActionRestart
	ActionRenameRestart
	ActionPreserve
	ActionCoredumpDestroy
	ActionCoredumpRestart
	ActionSoftReset
)

// ActionNames are the words for actions, by number.
var ActionNames = [...]string{"destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart", "soft-reset"}

// String is the word of a configuration file.
func (a Action) String() string {
	if int(a) < len(ActionNames) {
		return ActionNames[a]
	}
	return fmt.Sprintf("action %d", uint8(a))
}

// MarshalText is String.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// TSCMode is how a guest reads the time stamp counter (xl.cfg(5), tsc_mode).
type TSCMode uint8

// The modes.
const (
	TSCDefault TSCMode = iota
	TSCAlwaysEmulate
	TSCNative
	TSCNativeParavirt
)

// TSCModeNames are the words for modes, by number.
var TSCModeNames = [...]string{"default", "always_emulate", "native", "native_paravirt"}

// String is the word of a configuration file.
func (m TSCMode) String() string {
	if int(m) < len(TSCModeNames) {
		return TSCModeNames[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// MarshalText is String.
func (m TSCMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// TimerMode is what happens to timer ticks that a vcpu missed (xl.cfg(5),
// timer_mode).
type TimerMode uint8

// The modes, numbered as in hvm/params.h (HVMPTM_*).
const (
	TimerDelayForMissedTicks TimerMode = iota
	TimerNoDelayForMissedTicks
	TimerNoMissedTicksPending
	TimerOneMissedTickPending
)

// TimerModeNames are the words for modes, by number.
var TimerModeNames = [...]string{"delay_for_missed_ticks", "no_delay_for_missed_ticks", "no_missed_ticks_pending", "one_missed_tick_pending"}

// MarshalText is the word of a configuration file.
func (m TimerMode) MarshalText() ([]byte, error) {
	if int(m) < len(TimerModeNames) {
		return []byte(TimerModeNames[m]), nil
	}
	return fmt.Appendf(nil, "mode %d", uint8(m)), nil
}

// UUID is a domain's unique number; all zeros means: make one.
type UUID [16]byte

// String gives the usual form, 8-4-4-4-12 hex digits.
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// MarshalText is String.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// ParseUUID reads 32 hex digits, with the four usual dashes or without any.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	digits := s
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		digits = strings.ReplaceAll(s, "-", "")
	}
	if len(digits) == 32 {
		if _, err := hex.Decode(u[:], []byte(digits)); err == nil {
			return u, nil
		}
	}
	return UUID{}, Errorf(ErrBadArgument, "%q is not a UUID; it looks like 59e1cf6c-6ab9-4879-90e7-adc8d1c63bf5", s)
}

// DomainConfig is everything that a domain is created from.
type DomainConfig struct {
	Type DomainType `json:"type"`
	Name string     `json:"name"`
	UUID UUID       `json:"uuid"`

	// Kernel and Ramdisk are files of the host; Ramdisk may be empty, Kernel
	// too for HVM, or if Firmware is set.
	Kernel  string `json:"kernel,omitempty"`
	Ramdisk string `json:"ramdisk,omitempty"`
	// Modules are files that come beside the kernel, instead of Ramdisk: each a file of
	// the host, and after a space its command line (see SplitModule).
	Modules []string `json:"modules,omitempty"`
	// Cmdline is the kernel's whole command line.
	Cmdline string `json:"cmdline,omitempty"`
	// Firmware stands for a kernel that the host has: PVGrub64 or PVGrub32.
	Firmware string `json:"firmware,omitempty"`

	// MemoryBytes is there at start, MaxMemoryBytes (never less) can be.
	MemoryBytes    uint64 `json:"memory_bytes"`
	MaxMemoryBytes uint64 `json:"max_memory_bytes"`
	// VCPUs are online at start, MaxVCPUs (never fewer) can be.
	VCPUs    int `json:"vcpus"`
	MaxVCPUs int `json:"max_vcpus"`
	// HardAffinity and SoftAffinity are by vcpu; a vcpu without an entry may
	// run anywhere.
	HardAffinity []CPUList   `json:"cpus,omitempty"`
	SoftAffinity []CPUList   `json:"cpus_soft,omitempty"`
	Sched        SchedParams `json:"sched"`

	OnPoweroff  Action `json:"on_poweroff"`
	OnReboot    Action `json:"on_reboot"`
	OnWatchdog  Action `json:"on_watchdog"`
	OnCrash     Action `json:"on_crash"`
	OnSoftReset Action `json:"on_soft_reset"`

	TSCMode   TSCMode   `json:"tsc_mode"`
	TimerMode TimerMode `json:"timer_mode"`
	NoMigrate bool      `json:"nomigrate,omitempty"`
	// Migrate is nomigrate=0 in so many words. Nothing can migrate yet, so only
	// who asks for it has to do without what a migration would break.
	Migrate bool `json:"migrate,omitempty"`

	// Quotas; 0 is the host's default.
	MaxEventChannels  int `json:"max_event_channels,omitempty"`
	MaxGrantFrames    int `json:"max_grant_frames,omitempty"`
	MaxMaptrackFrames int `json:"max_maptrack_frames,omitempty"`
	MaxGrantVersion   int `json:"max_grant_version,omitempty"`

	// Disks and VIFs are the specifications as written; package xlcfg parses
	// them.
	Disks []string `json:"disk,omitempty"`
	VIFs  []string `json:"vif,omitempty"`
	// PCIs are devices to pass through, likewise. Create refuses them.
	PCIs []string `json:"pci,omitempty"`
}

// SplitModule splits an element of DomainConfig.Modules.
func SplitModule(text string) (file, cmdline string) {
	file, cmdline, _ = strings.Cut(text, " ")
	return file, strings.TrimSpace(cmdline)
}

// MaxVCPUs is the most vcpus that a domain can be given (hvm/hvm_info_table.h,
// HVM_MAX_VCPUS).
const MaxVCPUs = 128

// MaxNameLen is the longest name of a domain, in bytes.
const MaxNameLen = 127

// CheckName returns ErrBadArgument if a domain can't have that name: it would
// break a line of xl list, be taken for a number, or for a path.
func CheckName(s string) error {
	if s == "" {
		return Errorf(ErrBadArgument, "a domain needs a name that is not empty")
	}
	if len(s) > MaxNameLen {
		return Errorf(ErrBadArgument, "the name %.20q... has %d bytes; at most %d are allowed", s, len(s), MaxNameLen)
	}
	digits := true
	for _, r := range s {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\"'`, r) {
			return Errorf(ErrBadArgument, "the name %q has the character %q; use letters, digits and . _ - + : only", s, r)
		}
		digits = digits && r >= '0' && r <= '9'
	}
	if digits {
		return Errorf(ErrBadArgument, "the name %q would be taken for a domain's number; add a letter", s)
	}
	return nil
}
