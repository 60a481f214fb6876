package xlcfg

import (
	"cmp"
	"slices"
	"strings"

	"nidus/rpc/control"
)

type (
	affinity = []control.CPUList
	actionT  = control.Action
)

const (
	maxVCPUs  = control.MaxVCPUs
	maxWeight = control.MaxWeight
	maxCap    = control.MaxCapPercent
	// maxModules is what both types of domains can have.
	maxModules = 32
	maxMiB     = 1 << 34 // 16 PiB, what 52 address bits and some reach
)

// Decode turns settings into a configuration, with Xen's defaults for what
// isn't there. A non-nil error is Errors, all that is wrong.
func Decode(f *File) (*DomainConfig, []Warning, error) {
	d := decoder{file: f, warnings: slices.Clone(f.Warnings), meant: map[string]bool{}}
	d.cfg = DomainConfig{
		Sched:       control.SchedParams{Weight: control.DefaultWeight},
		OnReboot:    control.ActionRestart,
		OnSoftReset: control.ActionSoftReset,
		TimerMode:   control.TimerNoDelayForMissedTicks,
	}
	d.unknown()
	for _, k := range keys {
		if s := f.Get(k.name); s != nil && k.decode != nil {
			k.decode(&d, s)
			if k.notYet != "" {
				d.warn(s, s.Key+" "+k.notYet)
			}
		}
	}
	d.check()
	slices.SortStableFunc(d.warnings, func(a, b Warning) int { return byPos(f, a.Pos, b.Pos) })
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b *Error) int { return byPos(f, a.Pos, b.Pos) })
		return nil, d.warnings, d.errs
	}
	return &d.cfg, d.warnings, nil
}

// byPos puts the file before the overrides.
func byPos(f *File, a, b Pos) int {
	rank := func(p Pos) int {
		if p.File == f.Name {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
}

type decoder struct {
	file     *File
	cfg      DomainConfig
	warnings []Warning
	errs     Errors
	// disks, vifs and pcis are the devices so far.
	disks []Disk
	vifs  []VIF
	pcis  []PCI
	// meant are keys that unknown ones were taken for: they aren't missing.
	meant map[string]bool
}

func (d *decoder) fail(p Pos, format string, args ...any) {
	if len(d.errs) < maxErrors {
		d.errs = append(d.errs, errorf(p, format, args...))
	}
}

func (d *decoder) warn(s *Setting, msg string) {
	d.warnings = append(d.warnings, Warning{s.Pos, s.Key, msg})
}

func (d *decoder) nothing(*Setting) {}

// unknown looks for keys that Decode doesn't act on.
func (d *decoder) unknown() {
	for i := range d.file.Settings {
		s := &d.file.Settings[i]
		k := lookup(s.Key)
		switch {
		case k == nil && obsolete[s.Key] != "":
			d.warn(s, s.Key+" was xm's and means nothing any more; "+obsolete[s.Key])
		case k != nil && k.decode == nil:
			d.warn(s, s.Key+" "+k.notYet)
		case k != nil:
		default:
			if near := suggest(s.Key, Keys()); near != "" {
				d.meant[near] = true
				d.fail(s.Pos, "unknown key %q, did you mean %q?", shorten(s.Key), near)
			} else {
				d.fail(s.Pos, "unknown key %q; remove it, or see xl.cfg(5) for what there is", shorten(s.Key))
			}
		}
	}
}

// text returns a setting's value as a string.
func (d *decoder) text(s *Setting) (string, bool) {
	if s.Value.Kind == List {
		d.fail(s.Value.Pos, "%s is one string, not a list; remove the brackets", s.Key)
		return "", false
	}
	return s.Value.Text, true
}

// number returns a setting's value as a number from lo to hi.
func (d *decoder) number(s *Setting, lo, hi int64) (int64, bool) {
	text, ok := d.text(s)
	if !ok {
		return 0, false
	}
	n, err := parseNumber(strings.TrimSpace(text))
	if err != nil {
		d.fail(s.Value.Pos, "%s = %q: %v", s.Key, shorten(text), err)
		return 0, false
	}
	if n < lo || n > hi {
		d.fail(s.Value.Pos, "%s = %d is out of range; use %d to %d", s.Key, n, lo, hi)
		return 0, false
	}
	return n, true
}

// word returns the index of a setting's value in words, or the value itself if
// it is a number that numbers allows.
func (d *decoder) word(s *Setting, words []string, numbers bool) (int, bool) {
	text, ok := d.text(s)
	if !ok {
		return 0, false
	}
	if i := slices.Index(words, text); i >= 0 {
		return i, true
	}
	if n, err := parseNumber(text); numbers && err == nil {
		if n < 0 || n >= int64(len(words)) {
			d.fail(s.Value.Pos, "%s = %d is out of range; use one of %s", s.Key, n, strings.Join(words, ", "))
			return 0, false
		}
		d.warn(s, s.Key+" = "+text+" is the old way; write \""+words[n]+"\"")
		return int(n), true
	}
	if near := suggest(text, words); near != "" {
		d.fail(s.Value.Pos, "unknown %s %q, did you mean %q?", s.Key, shorten(text), near)
	} else {
		d.fail(s.Value.Pos, "unknown %s %q; use one of %s", s.Key, shorten(text), strings.Join(words, ", "))
	}
	return 0, false
}

type decodeFunc = func(*decoder, *Setting)

func str(field func(*DomainConfig) *string) decodeFunc {
	return func(d *decoder, s *Setting) {
		if text, ok := d.text(s); ok {
			*field(&d.cfg) = text
		}
	}
}

func num(lo, hi int64, field func(*DomainConfig) *int) decodeFunc {
	return func(d *decoder, s *Setting) {
		if n, ok := d.number(s, lo, hi); ok {
			*field(&d.cfg) = int(n)
		}
	}
}

func boolean(field func(*DomainConfig) *bool) decodeFunc {
	return func(d *decoder, s *Setting) {
		if text, _ := d.text(s); strings.EqualFold(text, "true") || strings.EqualFold(text, "false") {
			d.fail(s.Value.Pos, "%s is a number: write 1 for true, 0 for false", s.Key)
		} else if n, ok := d.number(s, 0, 1<<31); ok {
			*field(&d.cfg) = n != 0
		}
	}
}

func mib(field func(*DomainConfig) *uint64) decodeFunc {
	return func(d *decoder, s *Setting) {
		text, _ := d.text(s)
		if n := len(text) - 1; n > 0 && strings.ContainsRune("kKmMgGtT", rune(text[n])) {
			d.fail(s.Value.Pos, "%s = %q: the unit is always MiB; write the number alone, for 1 GiB 1024", s.Key, shorten(text))
		} else if n, ok := d.number(s, 1, maxMiB); ok {
			*field(&d.cfg) = uint64(n) << 20
		}
	}
}

func action(field func(*DomainConfig) *actionT) decodeFunc {
	return func(d *decoder, s *Setting) {
		if i, ok := d.word(s, control.ActionNames[:], false); ok {
			*field(&d.cfg) = control.Action(i)
		}
	}
}

// cpus decodes an affinity: one list for all vcpus, or a list by vcpu.
func cpus(field func(*DomainConfig) *affinity) decodeFunc {
	return func(d *decoder, s *Setting) {
		list := s.Value.List
		if s.Value.Kind != List {
			list = []Value{s.Value}
		}
		if len(list) > maxVCPUs {
			d.fail(s.Value.Pos, "%s has %d elements, more than the %d vcpus that a domain can have", s.Key, len(list), maxVCPUs)
			return
		}
		var out affinity
		for _, v := range list {
			if v.Kind == List {
				d.fail(v.Pos, "%s holds a list in a list; its elements are strings such as \"0-3\"", s.Key)
				return
			}
			l, err := control.ParseCPUList(v.Text)
			if err != nil {
				d.fail(v.Pos, "%s: %v", s.Key, err)
				return
			}
			out = append(out, l)
		}
		*field(&d.cfg) = out
	}
}
