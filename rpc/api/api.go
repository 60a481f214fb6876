// Package api is the code that rpc/gen makes from the schema, rpc/nidus.proto: the
// messages (protobuf) and the calls (drpc). Programs use rpc/client.
package api

// The version of the protocol that the schema describes. A change that the rules in
// the schema allow raises Minor.
const (
	Major = 1
	Minor = 1
)
