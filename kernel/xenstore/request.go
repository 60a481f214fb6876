package xenstore

import (
	"bytes"
	"strconv"

	"nidus/mm"
)

// serve answers one request of the ring's domain. Every request gets exactly
// one reply.
func (r *Ring) serve(h Header, payload []byte) {
	body, err := r.answer(h, payload)
	switch {
	case err == 0 && len(body) > PayloadMax:
		err = E2BIG
		fallthrough
	case err != 0:
		h.Type, body = MsgError, append([]byte(err.Error()), 0)
	}
	r.send(h, body)
	if err == 0 && h.Type == MsgWatch {
		// Behind the reply, as guests expect it.
		r.event(r.newest, r.newest.path[r.newest.strip:])
	}
}

var ok = []byte("OK\x00")

// answer runs one request and returns the reply's payload.
func (r *Ring) answer(h Header, payload []byte) ([]byte, Errno) {
	switch h.Type {
	case MsgRead, MsgDirectory, MsgGetPerms, MsgWrite, MsgMkdir, MsgRm, MsgSetPerms, MsgDirectoryPart:
		return r.nodeRequest(h, payload)
	case MsgWatch, MsgUnwatch:
		return ok, r.watchRequest(h.Type, payload)
	case MsgResetWatches:
		r.c.reset()
		return ok, 0
	case MsgTransactionStart:
		if h.TxID != 0 {
			return nil, EBUSY
		}
		id, err := r.c.begin()
		return append(strconv.AppendUint(nil, uint64(id), 10), 0), err
	case MsgTransactionEnd:
		switch string(payload) {
		case "T\x00":
			return ok, r.c.end(h.TxID, true)
		case "F\x00":
			return ok, r.c.end(h.TxID, false)
		}
		return nil, EINVAL
	case MsgGetDomainPath:
		dom, err := domArg(payload)
		return append([]byte(DomainPath(dom)), 0), err
	case MsgIsDomainIntroduced, MsgIntroduce, MsgRelease, MsgResume, MsgSetTarget, MsgControl:
		return r.adminRequest(h.Type, payload)
	}
	return nil, ENOSYS
}

// nodeRequest serves what reads or changes the tree.
func (r *Ring) nodeRequest(h Header, payload []byte) ([]byte, Errno) {
	p, rest, terminated := bytes.Cut(payload, []byte{0})
	if !terminated {
		return nil, EINVAL
	}
	o := op{kind: h.Type, path: string(p)}
	if !special(o.path) {
		abs, _, err := resolve(r.c.dom, o.path)
		if err != 0 {
			return nil, err
		}
		o.path = abs
	}
	offset := 0
	switch h.Type {
	case MsgWrite:
		o.value = string(rest)
	case MsgSetPerms:
		perms, err := permsArg(rest)
		if err != 0 {
			return nil, err
		}
		o.perms = perms
	case MsgDirectoryPart:
		n, err := strconv.ParseUint(string(bytes.TrimSuffix(rest, []byte{0})), 10, 31)
		if err != nil {
			return nil, EINVAL
		}
		o.kind, offset = MsgDirectory, int(n)
	}
	a := r.c.do(h.TxID, &o)
	if a.err != 0 {
		return nil, a.err
	}
	switch h.Type {
	case MsgRead:
		return []byte(a.value), 0
	case MsgDirectory:
		var b []byte
		for _, s := range a.names {
			b = append(append(b, s...), 0)
		}
		return b, 0
	case MsgDirectoryPart:
		return directoryPart(a.names, a.gen, offset)
	case MsgGetPerms:
		var b []byte
		for _, p := range a.perms {
			b = append(append(b, p.String()...), 0)
		}
		return b, 0
	}
	return ok, 0
}

// directoryPart returns the names from a byte offset into the whole list on,
// as many as fit, behind the generation; an empty name ends the list.
func directoryPart(names []string, gen uint64, offset int) ([]byte, Errno) {
	b := append(strconv.AppendUint(nil, gen, 10), 0)
	at := 0
	for _, s := range names {
		if at >= offset {
			if len(b)+len(s)+1 > PayloadMax-1 {
				return b, 0
			}
			b = append(append(b, s...), 0)
		}
		at += len(s) + 1
	}
	if offset > at {
		return nil, EINVAL
	}
	return append(b, 0), 0
}

func permsArg(b []byte) ([]Perm, Errno) {
	var perms []Perm
	for len(b) > 0 {
		s, rest, terminated := bytes.Cut(b, []byte{0})
		p, err := ParsePerm(string(s))
		if err != nil || !terminated {
			return nil, EINVAL
		}
		perms, b = append(perms, p), rest
	}
	return perms, 0
}

func (r *Ring) watchRequest(t MsgType, payload []byte) Errno {
	p, rest, ok1 := bytes.Cut(payload, []byte{0})
	tok, depth, ok2 := bytes.Cut(rest, []byte{0})
	switch {
	case !ok1 || !ok2:
		return EINVAL
	case len(tok) > tokenMax:
		return E2BIG
	}
	path, token, strip := string(p), string(tok), 0
	if !validWatch(path) {
		abs, relative, err := resolve(r.c.dom, path)
		if err != 0 {
			return err
		}
		if relative {
			strip = len(abs) - len(path)
		}
		path = abs
	}
	if t == MsgUnwatch {
		return r.c.delWatch(path, token, strip)
	}
	levels, err := levelsArg(depth, path[0] == '@')
	if err != 0 {
		return err
	}
	w := &watch{path: path, token: token, strip: strip, levels: levels, deliver: r.event}
	if err = r.c.addWatch(w); err == 0 {
		r.newest = w
	}
	return err
}

// levelsArg reads the depth that may follow a watch's token, which makes one level more. A
// special watch has no depth but 1.
func levelsArg(b []byte, isSpecial bool) (int, Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	digits, rest, terminated := bytes.Cut(b, []byte{0})
	n, err := strconv.ParseUint(string(digits), 10, 31)
	if err != nil || !terminated || len(rest) > 0 || isSpecial && n != 1 {
		return 0, EINVAL
	}
	// No path has more levels than bytes.
	return int(min(n, AbsPathMax)) + 1, 0
}

// adminRequest serves what only domain 0 may ask. A domain is introduced with a
// page and an event channel of the core, so by [Store.Introduce] alone.
func (r *Ring) adminRequest(t MsgType, payload []byte) ([]byte, Errno) {
	if !r.c.priv {
		return nil, EACCES
	}
	if t == MsgControl {
		switch cmd, _, _ := bytes.Cut(payload, []byte{0}); string(cmd) {
		case "check":
			return ok, 0
		case "help":
			return []byte("check help\x00"), 0
		}
		return nil, EINVAL
	}
	dom, err := domArg(payload)
	if err != 0 {
		return nil, err
	}
	known := r.s.rings[dom]
	switch {
	case t == MsgIsDomainIntroduced && known != nil:
		return []byte("T\x00"), 0
	case t == MsgIsDomainIntroduced:
		return []byte("F\x00"), 0
	case t == MsgIntroduce, t == MsgSetTarget:
		return nil, ENOSYS
	case known == nil:
		return nil, ENOENT
	case t == MsgRelease && known == r:
		return nil, EINVAL
	case t == MsgRelease:
		r.s.release(known)
	}
	return ok, 0
}

func domArg(payload []byte) (mm.DomID, Errno) {
	s, _, terminated := bytes.Cut(payload, []byte{0})
	dom, err := strconv.ParseUint(string(s), 10, 16)
	if err != nil || !terminated {
		return 0, EINVAL
	}
	return mm.DomID(dom), 0
}
