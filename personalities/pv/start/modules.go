package start

import (
	"fmt"

	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/image"
)

// MaxModules bounds a domain's modules.
const MaxModules = 32

// Module is a file that the guest gets beside its kernel, until Write is done.
type Module = image.Module

// modules are all modules as the guest gets them: pieces of one stretch of memory.
type modules struct {
	pieces []piece
	size   uint64
	flags  uint32
}

type piece struct {
	off  uint64
	data []byte
}

// packModules lays a lone module out as it is, and more, or one with a command line, as a
// package: a list of descriptors, their command lines, and the modules, each page aligned (xen.h,
// xen_multiboot_mod_list).
func packModules(ms []Module) (modules, error) {
	switch {
	case len(ms) == 0:
		return modules{}, nil
	case len(ms) > MaxModules:
		return modules{}, fmt.Errorf("%w: %d modules, at most %d are possible", ErrParams, len(ms), MaxModules)
	}
	total := uint64(0)
	for _, m := range ms {
		if len(m.Data) == 0 {
			return modules{}, fmt.Errorf("%w: the file %s is empty; remove it (ramdisk=)", ErrParams, m.Name)
		}
		total += pages(uint64(len(m.Data))) << mm.PageShift
	}
	if len(ms) == 1 && ms[0].Cmdline == "" {
		return modules{pieces: []piece{{0, ms[0].Data}}, size: uint64(len(ms[0].Data))}, nil
	}
	const entry = 16 // bytes of a descriptor
	head := make([]byte, entry*(len(ms)+1))
	list := make([]xenabi.XenMultibootMod, len(ms))
	for i, m := range ms {
		list[i].Cmdline = uint32(len(head))
		head = append(head, m.Cmdline...)
		head = append(head, 0)
	}
	at := pages(uint64(len(head))) << mm.PageShift
	if at+total > 1<<32 {
		return modules{}, fmt.Errorf("%w: modules of %d MiB, at most 4095 are possible", ErrParams, total>>20)
	}
	p := modules{flags: xenabi.SIFMultibootMod, pieces: []piece{{0, head}}}
	for i, m := range ms {
		list[i].ModStart, list[i].ModEnd = uint32(at), uint32(at+uint64(len(m.Data))-1)
		xenabi.Encode(xenabi.Guest64, head[entry*i:], &list[i])
		p.pieces = append(p.pieces, piece{at, m.Data})
		p.size = at + uint64(len(m.Data))
		at += pages(uint64(len(m.Data))) << mm.PageShift
	}
	return p, nil
}
