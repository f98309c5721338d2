"""Small files to begin with: the same records as CSV and as JSON."""

from __future__ import annotations

from typing import Final

SAMPLES: Final[dict[str, str]] = {
    "items.csv": """item_id,item_type,status,name,price,category,in_stock
SKU-1001,product,active,"Trail Shoes, blue",89.9,Footwear,true
SKU-1002,product,active,Rain Jacket,120,Outerwear,true
SKU-1003,product,inactive,Wool Socks,9.5,Footwear,false
""",
    "items.json": """[
  {"item_id": "SKU-1001", "item_type": "product", "status": "active",
   "attributes": {"name": "Trail Shoes, blue", "price": 89.9, "category": "Footwear", "in_stock": true}},
  {"item_id": "SKU-1002", "item_type": "product", "status": "active",
   "attributes": {"name": "Rain Jacket", "price": 120, "category": "Outerwear", "in_stock": true}},
  {"item_id": "SKU-1003", "item_type": "product", "status": "inactive",
   "attributes": {"name": "Wool Socks", "price": 9.5, "category": "Footwear", "in_stock": false}}
]
""",
    "users.csv": """user_id,status,created_at,email,city,newsletter
user-2001,active,2026-01-12T09:00:00Z,ada@example.com,London,true
user-2002,active,2026-02-03T14:30:00+01:00,ben@example.com,Vienna,false
user-2003,inactive,2026-03-21T08:15:00Z,cleo@example.com,Lisbon,true
""",
    "users.json": """[
  {"user_id": "user-2001", "status": "active", "created_at": "2026-01-12T09:00:00Z",
   "attributes": {"email": "ada@example.com", "city": "London", "newsletter": true}},
  {"user_id": "user-2002", "status": "active", "created_at": "2026-02-03T14:30:00+01:00",
   "attributes": {"email": "ben@example.com", "city": "Vienna", "newsletter": false}},
  {"user_id": "user-2003", "status": "inactive", "created_at": "2026-03-21T08:15:00Z",
   "attributes": {"email": "cleo@example.com", "city": "Lisbon", "newsletter": true}}
]
""",
}
