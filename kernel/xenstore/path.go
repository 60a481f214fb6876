package xenstore

import (
	"strconv"
	"strings"

	"nidus/mm"
)

// The special watch paths, and the events that the server makes up for them.
const (
	IntroduceDomain = "@introduceDomain" // a domain came
	ReleaseDomain   = "@releaseDomain"   // a domain shut down, crashed or went
)

const domainRoot = "/local/domain/"

// DomainPath returns the home of a domain's nodes, /local/domain/<dom>.
func DomainPath(dom mm.DomID) string {
	return domainRoot + strconv.Itoa(int(dom))
}

// resolve checks a path that a client sent and makes it absolute; relative
// paths start at the client's own home (xenstore.txt, "Values commonly
// included in payloads"). Special paths are refused.
func resolve(dom mm.DomID, p string) (abs string, relative bool, err Errno) {
	if p == "" {
		return "", false, EINVAL
	}
	if p[0] != '/' {
		if len(p) > RelPathMax {
			return "", false, EINVAL
		}
		p, relative = DomainPath(dom)+"/"+p, true
	}
	if !validAbs(p) {
		return "", false, EINVAL
	}
	return p, relative, 0
}

// validAbs tells whether p is a well-formed absolute path.
func validAbs(p string) bool {
	if p == "/" {
		return true
	}
	if len(p) < 2 || len(p) > AbsPathMax || p[0] != '/' || p[1] == '@' {
		return false
	}
	prev := byte(0)
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '@':
		case c == '/' && prev != '/':
		default:
			return false
		}
		prev = c
	}
	return prev != '/'
}

// special tells whether p names one of the server's own events.
func special(p string) bool { return p == IntroduceDomain || p == ReleaseDomain }

// validWatch tells whether p can be watched once resolve refused it.
func validWatch(p string) bool {
	return len(p) > 1 && p[0] == '@' && len(p) <= RelPathMax && validAbs("/x"+p)
}

// nextName cuts the first name off the rest of a path ("a/b" gives "a", "b").
func nextName(rest string) (name, tail string) {
	name, tail, _ = strings.Cut(rest, "/")
	return name, tail
}

// parent returns the path one level up; the root is its own parent.
func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i > 0 {
		return p[:i]
	}
	return "/"
}

// join returns the path of dir's child.
func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}
