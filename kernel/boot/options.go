package boot

import (
	"fmt"
	"strings"
)

// LogLevel is how important a message must be to be printed.
type LogLevel uint8

// The levels; each includes those before it.
const (
	LogNone LogLevel = iota
	LogError
	LogWarning
	LogInfo
	LogDebug // "all" is another word for it
)

var logLevelWords = [...]string{"none", "error", "warning", "info", "debug"}

// String returns the level's word on the command line.
func (l LogLevel) String() string {
	if int(l) < len(logLevelWords) {
		return logLevelWords[l]
	}
	return "unknown"
}

// LogLevels are a pair as in guest_loglvl=none/warning: messages up to Always
// are printed, those up to Limited only at a limited rate.
type LogLevels struct {
	Always, Limited LogLevel
}

// Serial is how a serial port is set up (com1=, com2=).
type Serial struct {
	Baud     uint32 // 0 for auto: leave the port as the firmware set it
	DataBits uint8  // 5 to 8
	Parity   byte   // n, o, e, m or s
	StopBits uint8  // 1 or 2
	IOBase   uint16 // I/O port
	IRQ      uint8  // 0: poll
}

// Switch is a three-way option: what the hardware has decides by default.
type Switch uint8

// The ways.
const (
	SwitchDefault Switch = iota
	SwitchOff
	SwitchOn
	SwitchHVM // on for HVM guests only (smep=hvm, smap=hvm)
)

// String names the way.
func (s Switch) String() string {
	switch s {
	case SwitchDefault:
		return "default"
	case SwitchOff:
		return "off"
	case SwitchOn:
		return "on"
	case SwitchHVM:
		return "hvm"
	}
	return "unknown"
}

// MemAmount is an amount of memory that may depend on how much the host has:
// Bytes plus Percent of the host's memory, or, if Less, all but Bytes.
type MemAmount struct {
	Set     bool
	Less    bool
	Bytes   uint64
	Percent uint8
}

// Of returns the amount in bytes for a host with total bytes, at most total.
func (m MemAmount) Of(total uint64) uint64 {
	if m.Less {
		return total - min(m.Bytes, total)
	}
	share := mulDiv(total, uint64(min(m.Percent, 100)), 100)
	return min(total, m.Bytes+min(share, total-min(m.Bytes, total)))
}

// Dom0Mem is dom0_mem=: how much memory dom0 starts with, and the limits of it.
type Dom0Mem struct {
	Size, Min, Max MemAmount
}

// Options is the image's command line. The words and their values are Xen's
// (xen-command-line.pandoc) where Xen has the word.
type Options struct {
	// Console lists where the host's console goes: com1, com2, vga, none.
	Console []string
	Com     [2]Serial // com1=, com2=
	// LogLevel and GuestLogLevel are loglvl= and guest_loglvl=.
	LogLevel, GuestLogLevel LogLevels
	Dom0Mem                 Dom0Mem
	// MaxCPUs is the most processors to use, 0 for all of them.
	MaxCPUs int
	// NoSMP leaves all processors but the first alone.
	NoSMP bool
	// NoReboot keeps the host from restarting after a fatal error.
	NoReboot bool
	// SyncConsole makes console output wait until it is sent.
	SyncConsole bool
	// SwitchKey is the control character that, typed three times, moves the
	// serial input between shell and guests; 0 for none (conswitch=).
	SwitchKey byte
	// StayOnShell keeps the input at the shell when dom0 starts (conswitch=ax).
	StayOnShell bool
	// TSC is tsc=: "", unstable, skewed or stable:socket.
	TSC string
	// ClockSource is clocksource=: "", pit, hpet, acpi or tsc.
	ClockSource string
	SMEP, SMAP  Switch
	// PVNoSMAP lets PV guests run with their own page tables loaded although
	// the processor has no SMAP (pv-nosmap).
	PVNoSMAP bool
	// XPTI keeps PV guests apart from the hypervisor by page tables; the default is by the
	// processor (xpti=).
	XPTI Switch
	// PCID says for which PV guests the TLB is tagged, where the processor can (pcid=).
	PCID PCID
	// PVL1TF refuses PV guests page table entries that are not present and name memory; the
	// default is by the processor (pv-l1tf=).
	PVL1TF Switch
	// VMXHello runs a small guest under VMX at boot and says how that went.
	VMXHello bool
	// RPCPort is the TCP port of the control plane (rpc=tls:PORT), 0 for none.
	RPCPort int
	// Net are the words about the host's own network.
	Net NetOptions
	// XenDomains names the domain configurations to start (xendomains=).
	XenDomains []string
	// Data names the data partition (data=vda3); "": the one that is labelled so.
	Data string
	// StopMaxWait is how many seconds a domain has to power off when the host ends, 0
	// for the default (xendomains_stop_maxwait=, as in xendomains' configuration).
	StopMaxWait int
	// Dom0 is what follows " -- ": for dom0's kernel, as Xen passes it on.
	Dom0 string
	// Unknown holds the words that are no option.
	Unknown []string
	// Problems says which values were not understood; their defaults hold.
	Problems []string
}

// Clocks are the sources of the TSC's rate that clocksource= asks for, by
// preference; none without the option.
func (o *Options) Clocks() []ClockSource {
	switch o.ClockSource {
	case "hpet":
		return []ClockSource{ClockHPET}
	case "acpi":
		return []ClockSource{ClockPM}
	case "pit":
		return []ClockSource{ClockPIT}
	case "tsc": // what is said of the TSC, without another clock
		return []ClockSource{ClockHypervisor, ClockCPUID15, ClockCPUID16}
	}
	return nil
}

// DefaultOptions returns the options of an empty command line.
func DefaultOptions() *Options {
	return &Options{
		Console: []string{"com1", "vga"},
		Com: [2]Serial{
			{Baud: 115200, DataBits: 8, Parity: 'n', StopBits: 1, IOBase: 0x3f8, IRQ: 4},
			{Baud: 115200, DataBits: 8, Parity: 'n', StopBits: 1, IOBase: 0x2f8, IRQ: 3},
		},
		LogLevel:      LogLevels{LogInfo, LogInfo},
		GuestLogLevel: LogLevels{LogNone, LogWarning},
		SwitchKey:     'a' - 'a' + 1,
		Net:           NetOptions{NAT: defaultNAT},
	}
}

// ParseOptions reads a command line. It never fails: see Unknown and Problems.
func ParseOptions(line string) *Options {
	o := DefaultOptions()
	line, o.Dom0 = cutDom0(line)
	for i, w := range SplitWords(line) {
		if i == 0 && isImagePath(w) {
			continue
		}
		o.word(w)
	}
	return o
}

// cutDom0 separates the image's options from what stands behind " -- ", for dom0.
// A quote doesn't hide the two dashes.
func cutDom0(line string) (own, dom0 string) {
	i := strings.Index(" "+line+" ", " -- ")
	if i < 0 {
		return line, ""
	}
	return line[:max(i-1, 0)], strings.TrimSpace(line[min(i+2, len(line)):])
}

// word reads one option.
func (o *Options) word(w string) {
	name, value, has := strings.Cut(w, "=")
	key := strings.ReplaceAll(name, "_", "-") // Xen takes one for the other
	if b := o.boolean(strings.TrimPrefix(key, "no-")); b != nil {
		v, err := parseBool(value, has)
		if err != nil {
			o.problem(w, err)
			return
		}
		*b = v != strings.HasPrefix(key, "no-")
		return
	}
	if s := o.threeWay(strings.TrimPrefix(key, "no-")); s != nil {
		if value == "hvm" && !strings.HasPrefix(key, "no-") {
			*s = SwitchHVM
			return
		}
		v, err := parseBool(value, has)
		if err != nil {
			o.problem(w, fmt.Errorf("%w, or hvm", err))
			return
		}
		*s = SwitchOff
		if v != strings.HasPrefix(key, "no-") {
			*s = SwitchOn
		}
		return
	}
	known, err := o.assign(key, value)
	switch {
	case !known:
		o.Unknown = append(o.Unknown, w)
	case !has:
		o.problem(w, fmt.Errorf("it needs a value: %s=", name))
	case err != nil:
		o.problem(w, err)
	}
}

// problem notes a value that was not understood.
func (o *Options) problem(w string, err error) {
	o.Problems = append(o.Problems, fmt.Sprintf("option %q ignored: %v", w, err))
}

// boolean returns the option that a key switches, or nil.
func (o *Options) boolean(key string) *bool {
	switch key {
	case "noreboot":
		return &o.NoReboot
	case "nosmp":
		return &o.NoSMP
	case "sync-console":
		return &o.SyncConsole
	case "pv-nosmap":
		return &o.PVNoSMAP
	case "vmx-hello":
		return &o.VMXHello
	}
	return nil
}

// threeWay returns the three-way option of a key, or nil.
func (o *Options) threeWay(key string) *Switch {
	switch key {
	case "smep":
		return &o.SMEP
	case "smap":
		return &o.SMAP
	}
	return nil
}

// assign reads the value of an option that has one; it changes nothing on an
// error.
func (o *Options) assign(key, value string) (known bool, err error) {
	switch key {
	case "console":
		err = setTo(&o.Console)(parseConsole(value))
	case "com1":
		err = setTo(&o.Com[0])(parseSerial(value, o.Com[0]))
	case "com2":
		err = setTo(&o.Com[1])(parseSerial(value, o.Com[1]))
	case "loglvl":
		err = setTo(&o.LogLevel)(parseLogLevels(value))
	case "guest-loglvl":
		err = setTo(&o.GuestLogLevel)(parseLogLevels(value))
	case "dom0-mem":
		err = setTo(&o.Dom0Mem)(parseDom0Mem(value, o.Dom0Mem))
	case "maxcpus":
		err = setTo(&o.MaxCPUs)(parseCount(value, 1, 4096))
	case "xpti":
		err = setTo(&o.XPTI)(parseGuests(value, o.XPTI))
	case "pcid":
		err = setTo(&o.PCID)(parsePCID(value))
	case "pv-l1tf":
		err = setTo(&o.PVL1TF)(parseGuests(value, o.PVL1TF))
	case "tsc":
		err = setTo(&o.TSC)(oneOf(value, "unstable", "skewed", "stable:socket"))
	case "clocksource":
		err = setTo(&o.ClockSource)(oneOf(value, "pit", "hpet", "acpi", "tsc"))
	case "conswitch":
		var k consoleSwitch
		if k, err = parseConsoleSwitch(value); err == nil {
			o.SwitchKey, o.StayOnShell = k.key, k.stay
		}
	case "rpc":
		err = setTo(&o.RPCPort)(parseRPC(value))
	case "xendomains":
		o.XenDomains = strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
	case "data":
		o.Data = strings.TrimPrefix(value, "/dev/")
	case "xendomains-stop-maxwait":
		err = setTo(&o.StopMaxWait)(parseCount(value, 1, 24*3600))
	default:
		return o.Net.assign(key, value)
	}
	return true, err
}

// setTo(dst)(parse(value)) assigns what was parsed. It returns a function that stores a parsed value unless there is an error.
func setTo[T any](dst *T) func(T, error) error {
	return func(v T, err error) error {
		if err == nil {
			*dst = v
		}
		return err
	}
}
