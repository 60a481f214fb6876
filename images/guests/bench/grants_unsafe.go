//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// Two guests that share pages, by Linux's gntalloc and gntdev (uapi xen/gntalloc.h,
// xen/gntdev.h; their devices are misc devices with nodes by devtmpfs). Each prints
// what a regression waits for as lines that begin with GRANTS.

const (
	pageSize = 4096
	// Where in a page the taker answers, by mapping and by copy.
	mapAnswer, copyAnswer = 2048, 2056
	answer                = 0x600df00d
)

// pattern is word i of page n of the giver.
func pattern(n, i int) uint64 { return uint64(n+1)<<32 | uint64(i)*0x9e3779b1 }

func ioctl(fd int, number, size uintptr, arg unsafe.Pointer) error {
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), ioc('G', number, size), uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// words are a page of a mapping.
func words(mem []byte, page int) *[pageSize / 8]uint64 {
	return (*[pageSize / 8]uint64)(unsafe.Pointer(&mem[page*pageSize]))
}

// granted are pages that another domain may use, and write.
type granted struct {
	fd   int // without it Linux takes the grants back as soon as they are used no more
	mem  []byte
	refs []uint32
}

// grantPages grants n new pages, 16 at most, to domain dom.
func grantPages(dom uint16, n int) (*granted, error) {
	fd, err := device("gntalloc")
	if err != nil {
		return nil, err
	}
	arg := struct {
		dom, flags uint16
		count      uint32
		index      uint64
		refs       [16]uint32
	}{dom: dom, flags: 1, count: uint32(n)} // GNTALLOC_FLAG_WRITABLE
	if err := ioctl(fd, 5, 24, unsafe.Pointer(&arg)); err != nil { // IOCTL_GNTALLOC_ALLOC_GREF
		return nil, fmt.Errorf("allocate %d grants: %w", n, err)
	}
	mem, err := syscall.Mmap(fd, int64(arg.index), n*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map own pages: %w", err)
	}
	return &granted{fd, mem, arg.refs[:n]}, nil
}

// give grants n pages to domain dom, says by which references, and waits for the answers.
func give(dom uint16, n int) error {
	pages, err := grantPages(dom, n)
	if err != nil {
		return err
	}
	mem := pages.mem
	for p := range n {
		for i := range words(mem, p) {
			words(mem, p)[i] = pattern(p, i)
		}
	}
	fmt.Print("GRANTS given")
	for _, r := range pages.refs {
		fmt.Printf(",%d", r)
	}
	fmt.Println(";")
	for p := range n {
		for words(mem, p)[mapAnswer/8] != answer || words(mem, p)[copyAnswer/8] != answer {
			time.Sleep(20 * time.Millisecond)
		}
	}
	fmt.Println("GRANTS answered")
	select {}
}

// copySegment is struct gntdev_grant_copy_segment.
type copySegment struct {
	source, dest [8]byte
	length       uint16
	flags        uint16
	status       int16
	_            int16
}

func local(p unsafe.Pointer) (b [8]byte) {
	*(*unsafe.Pointer)(unsafe.Pointer(&b)) = p
	return b
}

func foreign(dom uint16, ref uint32, off uint16) (b [8]byte) {
	*(*uint32)(unsafe.Pointer(&b[0])) = ref
	*(*uint16)(unsafe.Pointer(&b[4])) = off
	*(*uint16)(unsafe.Pointer(&b[6])) = dom
	return b
}

func grantCopy(fd int, all []copySegment) error {
	arg := struct {
		count uint32
		all   *copySegment
	}{uint32(len(all)), &all[0]}
	return ioctl(fd, 8, unsafe.Sizeof(arg), unsafe.Pointer(&arg)) // IOCTL_GNTDEV_GRANT_COPY
}

// mapping is struct ioctl_gntdev_map_grant_ref.
type mapping struct {
	count, _ uint32
	index    uint64
	refs     [16]struct{ dom, ref uint32 }
}

// mapGrants maps references of domain dom.
func mapGrants(fd int, dom uint16, refs []uint32) ([]byte, uint64, error) {
	arg := mapping{count: uint32(len(refs))}
	for i, r := range refs {
		arg.refs[i].dom, arg.refs[i].ref = uint32(dom), r
	}
	if err := ioctl(fd, 0, 24, unsafe.Pointer(&arg)); err != nil { // IOCTL_GNTDEV_MAP_GRANT_REF
		return nil, 0, err
	}
	mem, err := syscall.Mmap(fd, int64(arg.index), len(refs)*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return mem, arg.index, err
}

func unmapGrants(fd int, mem []byte, index uint64) error {
	if err := syscall.Munmap(mem); err != nil {
		return err
	}
	arg := struct {
		index    uint64
		count, _ uint32
	}{index: index, count: uint32(len(mem) / pageSize)}
	return ioctl(fd, 1, unsafe.Sizeof(arg), unsafe.Pointer(&arg)) // IOCTL_GNTDEV_UNMAP_GRANT_REF
}

// check tells whether the pages hold the giver's pattern, but for the answers.
func check(mem []byte, pages int) error {
	for p := range pages {
		for i, w := range words(mem, p) {
			if i != mapAnswer/8 && i != copyAnswer/8 && w != pattern(p, i) {
				return fmt.Errorf("word %d of page %d is %#x", i, p, w)
			}
		}
	}
	return nil
}

// take maps what domain dom gave, copies from it and to it, says that all was right, and
// then for ever, that the pages are still there.
func take(dom uint16, refs []uint32) error {
	fd, err := device("gntdev")
	if err != nil {
		return err
	}
	for range 100 {
		mem, index, err := mapGrants(fd, dom, refs)
		if err == nil {
			err = check(mem, len(refs))
		}
		if err == nil {
			err = unmapGrants(fd, mem, index)
		}
		if err != nil {
			return fmt.Errorf("map and unmap: %w", err)
		}
	}
	mem, _, err := mapGrants(fd, dom, refs)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	if _, _, err := mapGrants(fd, dom, []uint32{500}); err == nil {
		return errors.New("a reference that was not granted was mapped")
	}
	buf := make([]byte, (len(refs)+1)*pageSize)
	*words(buf, len(refs)) = [pageSize / 8]uint64{answer}
	var in, out []copySegment
	for p, r := range refs {
		words(mem, p)[mapAnswer/8] = answer
		in = append(in, copySegment{source: foreign(dom, r, 0), dest: local(unsafe.Pointer(&buf[p*pageSize])), length: pageSize, flags: 1})
		out = append(out, copySegment{source: local(unsafe.Pointer(&buf[len(refs)*pageSize])), dest: foreign(dom, r, copyAnswer), length: 8, flags: 2})
	}
	bad := []copySegment{{source: foreign(dom, 500, 0), dest: in[0].dest, length: 8, flags: 1}, {source: foreign(99, refs[0], 0), dest: in[0].dest, length: 8, flags: 1}}
	for _, c := range []struct {
		all    []copySegment
		status []int16
	}{{in, []int16{0}}, {out, []int16{0}}, {bad, []int16{-1, -2}}} {
		if err := grantCopy(fd, c.all); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		for i, s := range c.all {
			if want := c.status[min(i, len(c.status)-1)]; s.status != want {
				return fmt.Errorf("copy %d: status %d, not %d", i, s.status, want)
			}
		}
	}
	if err := check(buf, len(refs)); err != nil {
		return fmt.Errorf("copied: %w", err)
	}
	fmt.Println("GRANTS taken")
	for n := 0; ; n++ {
		if err := check(mem, len(refs)); err != nil {
			return fmt.Errorf("mapped: %w", err)
		}
		fmt.Println("NIDUS-GUEST-TICK", n)
		time.Sleep(500 * time.Millisecond)
	}
}

// grants runs "give DOMAIN COUNT" or "take DOMAIN REFERENCE...".
func grants(args []string) error {
	var n []uint32
	for _, a := range args[1:] {
		v, err := strconv.ParseUint(a, 10, 32)
		if err != nil {
			return err
		}
		n = append(n, uint32(v))
	}
	switch {
	case args[0] == "give" && len(n) == 2 && n[1] <= 16:
		return give(uint16(n[0]), int(n[1]))
	case args[0] == "take" && len(n) > 1 && len(n) <= 17:
		return take(uint16(n[0]), n[1:])
	}
	return fmt.Errorf("grants %q: give DOMAIN COUNT, or take DOMAIN REFERENCE...", args)
}
