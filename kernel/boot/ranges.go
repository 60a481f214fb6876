package boot

// MemType is what a range of physical memory may be used for. The numbers are
// those of the system address map (ACPI 6.5, table 15.2).
type MemType uint8

// The types of memory.
const (
	MemUsable   MemType = 1 // ordinary memory
	MemReserved MemType = 2 // firmware's or a device's
	MemACPI     MemType = 3 // ACPI tables; usable once they were read
	MemNVS      MemType = 4 // ACPI non-volatile storage; keep over sleep
	MemUnusable MemType = 5 // memory with errors
)

// String names the type.
func (t MemType) String() string {
	switch t {
	case MemUsable:
		return "usable"
	case MemReserved:
		return "reserved"
	case MemACPI:
		return "ACPI data"
	case MemNVS:
		return "ACPI NVS"
	case MemUnusable:
		return "unusable"
	}
	return "unknown"
}

// rank orders types by how much they forbid: where two ranges overlap, the
// higher one holds.
func (t MemType) rank() uint8 {
	switch t {
	case MemUsable:
		return 0
	case MemACPI:
		return 1
	case MemNVS:
		return 2
	case MemUnusable:
		return 4
	}
	return 3
}

// memTypeE820 converts a type of the system address map; what is not known is
// not touched.
func memTypeE820(t uint32) MemType {
	switch t {
	case 1, 3, 4, 5:
		return MemType(t)
	}
	return MemReserved
}

// memTypeEFI converts a type of UEFI's memory map (UEFI 2.10, table 7.10), for
// use after ExitBootServices.
func memTypeEFI(t uint32) MemType {
	switch t {
	case 1, 2, 3, 4, 7: // loader code and data, boot services, conventional
		return MemUsable
	case 8:
		return MemUnusable
	case 9:
		return MemACPI
	case 10:
		return MemNVS
	}
	return MemReserved
}

// Range is physical memory from Start up to, not including, End.
type Range struct {
	Start, End uint64
	Type       MemType
}

// Size returns the range's length in bytes.
func (r Range) Size() uint64 { return r.End - r.Start }

// Frames returns the 4 KiB frames that lie wholly within r, as first and end
// frame number; first >= end if there is none.
func (r Range) Frames() (first, end uint64) {
	return (r.Start + 0xfff) >> 12, r.End >> 12
}

// rangeTable is a sorted list of disjoint ranges, no two neighbours of which
// could be one. It has a fixed size and no pointers, for use before the runtime.
type rangeTable struct {
	n    int
	list [MaxRanges]Range
	next [MaxRanges]Range // where add builds the new list
}

// add puts [start, start+size) of type t into the table. Where it overlaps, the
// more restrictive type holds. What lies above MaxPhys is cut off. It returns
// false, and changes nothing, if the table would overflow.
func (rt *rangeTable) add(start, size uint64, t MemType) bool {
	if start >= MaxPhys || size == 0 {
		return true
	}
	end := uint64(MaxPhys)
	if size < MaxPhys-start {
		end = start + size
	}
	// place is the first byte of the new range that the list built so far does
	// not yet cover.
	n, place := 0, start
	for i := 0; i < rt.n; i++ {
		r := rt.list[i]
		if place < end && place < r.Start {
			stop := min(end, r.Start)
			n = rt.emit(n, place, stop, t)
			place = stop
		}
		if r.Start >= end || r.End <= start {
			n = rt.emit(n, r.Start, r.End, r.Type)
			continue
		}
		both := r.Type
		if t.rank() > r.Type.rank() {
			both = t
		}
		lo, hi := max(r.Start, start), min(r.End, end)
		n = rt.emit(n, r.Start, lo, r.Type)
		n = rt.emit(n, lo, hi, both)
		n = rt.emit(n, hi, r.End, r.Type)
		place = hi
	}
	n = rt.emit(n, place, end, t)
	if n > MaxRanges {
		return false
	}
	// Not an assignment of the arrays: that would put 6 KiB on a boot stack.
	copy(rt.list[:n], rt.next[:n])
	rt.n = n
	return true
}

// emit appends a range to next, which holds n, and returns how many it then
// holds. Beyond MaxRanges it counts without storing.
func (rt *rangeTable) emit(n int, start, end uint64, t MemType) int {
	if start >= end {
		return n
	}
	if n > 0 && n <= MaxRanges && rt.next[n-1].End == start && rt.next[n-1].Type == t {
		rt.next[n-1].End = end
		return n
	}
	if n < MaxRanges {
		rt.next[n] = Range{start, end, t}
	}
	return n + 1
}
