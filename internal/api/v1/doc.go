// Package v1 is the surface /v1: keys, agents, runs, auth profiles, the audit
// log, and what the operator sees. Its JSON is spelled in package client.
package v1
