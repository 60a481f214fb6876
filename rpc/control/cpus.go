package control

import (
	"math/bits"
	"strconv"
	"strings"
)

// MaxCPUs bounds the numbers of host CPUs and nodes in a CPUList.
const MaxCPUs = 4096

// CPUSet is a set of host CPUs: bit n%64 of word n/64 is CPU n. Words that are
// not there are zero.
type CPUSet []uint64

// AllCPUs returns the set of CPUs 0 to n-1.
func AllCPUs(n int) CPUSet {
	s := make(CPUSet, (n+63)/64)
	for i := range n {
		s.Add(i)
	}
	return s
}

// Has tells whether CPU n is in the set.
func (s CPUSet) Has(n int) bool { return n >= 0 && n/64 < len(s) && s[n/64]>>(n%64)&1 != 0 }

// Add puts CPU n into the set, which must have room for it.
func (s CPUSet) Add(n int) { s[n/64] |= 1 << (n % 64) }

// Remove takes CPU n out.
func (s CPUSet) Remove(n int) {
	if n/64 < len(s) {
		s[n/64] &^= 1 << (n % 64)
	}
}

// Count returns how many CPUs are in the set.
func (s CPUSet) Count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// String lists the CPUs as ranges: "0-3,5"; "none" if there are none.
func (s CPUSet) String() string {
	var b strings.Builder
	for i := 0; i < len(s)*64; i++ {
		if !s.Has(i) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		first := i
		for s.Has(i + 1) {
			i++
		}
		b.WriteString(strconv.Itoa(first))
		if i > first {
			b.WriteString("-" + strconv.Itoa(i))
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

// Format is String, or "all" if the CPUs 0 to n-1 are all in the set.
func (s CPUSet) Format(n int) string {
	for i := range n {
		if !s.Has(i) {
			return s.String()
		}
	}
	return "all"
}

// MarshalText is String.
func (s CPUSet) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// List is the set's CPUs of 0 to n-1 as a CPUList; "all" if none of them is
// missing.
func (s CPUSet) List(n int) CPUList {
	var l CPUList
	for i := 0; i < n; i++ {
		if !s.Has(i) {
			continue
		}
		first := i
		for i+1 < n && s.Has(i+1) {
			i++
		}
		l = append(l, CPUTerm{First: first, Last: i})
	}
	if len(l) == 1 && l[0] == (CPUTerm{Last: n - 1}) {
		l[0] = AnyCPU
	}
	return l
}

// AnyCPU is the term "all".
var AnyCPU = CPUTerm{Last: MaxCPUs - 1}

// CPUTerm is one part of a CPUList: CPUs, or the CPUs of nodes, from First to
// Last, to be added or taken away.
type CPUTerm struct {
	First, Last int
	Node        bool
	Exclude     bool
}

// CPUList is what "0-3,^2" and "all,^node:1" mean, before the number of CPUs
// is known. "all" is the term from 0 to MaxCPUs-1.
type CPUList []CPUTerm

// ParseCPUList reads a list in the syntax of xl.cfg(5), cpus. ErrBadArgument.
func ParseCPUList(s string) (CPUList, error) {
	if len(s) > 4096 {
		return nil, Errorf(ErrBadArgument, "a CPU list of %d bytes is too long", len(s))
	}
	var l CPUList
	for _, word := range strings.Split(s, ",") {
		t, err := parseCPUTerm(strings.TrimSpace(word))
		if err != nil {
			return nil, Errorf(ErrBadArgument, "CPU list %q: %v; write for example \"0-3,^2\", \"all,^0\" or \"node:1\"", s, err)
		}
		l = append(l, t)
	}
	return l, nil
}

func parseCPUTerm(s string) (CPUTerm, error) {
	var t CPUTerm
	if w, ok := strings.CutPrefix(s, "^"); ok {
		t.Exclude, s = true, w
	}
	for _, p := range [...]string{"nodes:", "node:"} {
		if w, ok := strings.CutPrefix(s, p); ok {
			t.Node, s = true, w
			if w, ok := strings.CutPrefix(s, "^"); ok { // "node:^2" is "^node:2"
				t.Exclude, s = !t.Exclude, w
			}
			break
		}
	}
	if s == "all" {
		t.Last = MaxCPUs - 1
		return t, nil
	}
	first, last, ranged := strings.Cut(s, "-")
	var err error
	if t.First, err = cpuNumber(first); err != nil {
		return t, err
	}
	t.Last = t.First
	if ranged {
		if t.Last, err = cpuNumber(last); err != nil {
			return t, err
		}
		if t.Last < t.First {
			return t, Errorf(ErrBadArgument, "%q runs backwards", s)
		}
	}
	return t, nil
}

func cpuNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n >= MaxCPUs {
		return 0, Errorf(ErrBadArgument, "%q is not a CPU number", s)
	}
	return int(n), nil
}

// Resolve returns the CPUs that the list means on a host with CPUs 0 to n-1.
// nodeOf tells a CPU's NUMA node; nil means that there is only node 0.
// ErrBadArgument if a CPU that is asked for isn't there, or none is left.
func (l CPUList) Resolve(n int, nodeOf func(cpu int) int) (CPUSet, error) {
	s := make(CPUSet, (n+63)/64)
	for _, t := range l {
		all := t.First == 0 && t.Last == MaxCPUs-1
		if !t.Node && !t.Exclude && !all && t.Last >= n {
			return nil, Errorf(ErrBadArgument, "CPU %d is not there: the host has CPUs 0 to %d", t.Last, n-1)
		}
		for cpu := range n {
			x := cpu
			if t.Node {
				x = 0
				if nodeOf != nil {
					x = nodeOf(cpu)
				}
			}
			if x < t.First || x > t.Last {
				continue
			}
			if t.Exclude {
				s.Remove(cpu)
			} else {
				s.Add(cpu)
			}
		}
	}
	if s.Count() == 0 {
		return nil, Errorf(ErrBadArgument, "the CPU list %q leaves no CPU of 0 to %d", l.String(), n-1)
	}
	return s, nil
}

// String writes the list in the syntax that ParseCPUList reads.
func (l CPUList) String() string {
	var b strings.Builder
	for i, t := range l {
		if i > 0 {
			b.WriteByte(',')
		}
		if t.Exclude {
			b.WriteByte('^')
		}
		if t.Node {
			b.WriteString("node:")
		}
		switch {
		case t.First == 0 && t.Last == MaxCPUs-1:
			b.WriteString("all")
		case t.First == t.Last:
			b.WriteString(strconv.Itoa(t.First))
		default:
			b.WriteString(strconv.Itoa(t.First) + "-" + strconv.Itoa(t.Last))
		}
	}
	return b.String()
}

// MarshalText is String.
func (l CPUList) MarshalText() ([]byte, error) { return []byte(l.String()), nil }
