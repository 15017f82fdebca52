// Lanes and their replicas.

import {el, fill} from "../dom.js";

export function mount(element, api) {
  return api.feed.subscribe((snapshot) => fill(element, el("p", null, Object.keys(snapshot.status.lanes ?? {}).join(", "))));
}
