package core

import (
	"strings"
	"testing"

	"nidus/rpc/control"
)

// No file of certs/ is a module that clients can read, whatever is in it.
func TestTakeCerts(t *testing.T) {
	good := "admin sha256:" + strings.Repeat("1f", 32) + " anna\n"
	for name, c := range map[string]struct {
		list    string
		clients int
		says    string
	}{"good": {good, 1, ""}, "bad": {good + "x", 0, "boot module authorized:2: "}, "empty": {"", 0, ""}} {
		t.Run(name, func(t *testing.T) {
			rest, certs, err := TakeCerts([]Module{
				{Name: "authorized", Data: []byte("a guest's own")}, {Name: "host.key", Args: "certs", Data: []byte("secret")},
				{Name: "authorized", Args: "certs", Data: []byte(c.list)}, {Name: "k", Args: "auto"}, {Name: "other", Args: "x certs"},
			})
			if len(rest) != 2 || string(rest[0].Data) != "a guest's own" || rest[1].Name != "k" {
				t.Errorf("the modules are %v", rest)
			}
			clients := certs.Clients
			if string(certs.Key) != "secret" {
				t.Errorf("the key is %q", certs.Key)
			}
			if len(clients) != c.clients || c.clients > 0 && (clients[0].Name != "anna" || clients[0].Role != control.RoleAdmin) {
				t.Errorf("the clients are %v", clients)
			}
			if (err == nil) != (c.says == "") || err != nil && !strings.HasPrefix(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}
